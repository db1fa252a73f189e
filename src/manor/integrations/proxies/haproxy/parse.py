"""What HAProxy's checker, sockets and log say, as values.

Vendor's page: https://docs.haproxy.org/2.6/management.html#9.1 (CSV), 9.3 (show servers state)
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from manor.errors import ManorError
from manor.estate.topology import ServiceView, TierNode, TrafficState
from manor.execution.values import Completed
from manor.integrations.proxies.base import AccessRecord, ServerView
from manor.integrations.proxies.haproxy import names
from manor.integrations.proxies.haproxy.state import DISABLED_IN_FILE, FORCED_DRAIN

ALERT = re.compile(r"^\[ALERT\]\s+\(\d+\) : (.*)$", re.MULTILINE)
ENDED_BY_CLIENT = frozenset("Cc")


def parse_check(completed: Completed) -> tuple[str, ...]:
    """Return the alerts; warnings don't refuse a file."""
    if completed.code == 0:
        return ()
    text = (completed.out + completed.err).decode("utf-8", "replace")
    return tuple(ALERT.findall(text)) or (text.strip() or f"haproxy -c ended with {completed.code}",)


def parse_version(completed: Completed) -> str:
    """Return e.g. `2.6.12`. Raises ManorError."""
    match = re.search(r"HAProxy version (\d+(?:\.\d+)+)", completed.text)
    if not match:
        raise ManorError(f"haproxy -v said {completed.text[:80]!r}, where a version was expected")
    return match[1]


def parse_ready(completed: Completed) -> str | None:
    """Return None if `show info` came from a worker that accepts."""
    facts = dict(line.split(": ", 1) for line in completed.text.splitlines() if ": " in line)
    if "Uptime_sec" not in facts:
        return f"no answer to `show info`: {completed.text[:80]!r}"
    return "the worker is stopping" if facts.get("Stopping", "0") != "0" else None


def parse_loaded(node: TierNode, digest: str, completed: Completed) -> str | None:
    """Return None if the worker works by the files with this digest."""
    if node.theirs is not None:
        return None if names.loaded(node, digest) in completed.text.split() else f"the running worker has no backend {names.loaded(node, digest)}"
    running = completed.text.strip().removeprefix("MANOR_CONFIG=")
    return None if running == digest else f"the running worker works by other files ({running or 'no digest'}, not {digest})"


@dataclass(frozen=True)
class Workers:
    """What the master has started."""

    reloads: int
    failed: int
    current: tuple[int, ...]
    old: tuple[int, ...]


def parse_workers(completed: Completed) -> Workers:
    """Return the processes of `show proc`. Raises ManorError."""
    master = re.search(r"^\d+\s+master\s+(\d+) \[failed: (\d+)\]", completed.text, re.MULTILINE)
    if not master:
        raise ManorError(f"haproxy's master said {completed.text[:80]!r}, where its processes were expected")
    current, _, old = completed.text.partition("# old workers")
    return Workers(int(master[1]), int(master[2]), pids(current), pids(old))


def pids(text: str) -> tuple[int, ...]:
    """Return the pids of the workers in a part of `show proc`."""
    return tuple(int(pid) for pid in re.findall(r"^(\d+)\s+worker\b", text, re.MULTILINE))


def parse_switch(service: ServiceView, completed: Completed) -> tuple[ServerView, ...]:
    """Return the servers, sorted by name. Raises ManorError if one is missing: the process works by other files."""
    states, numbers = admin_states(completed.text), statistics(completed.text)
    missing = sorted({server.name for server in service.servers} - (states.keys() & numbers.keys()))
    if missing:
        raise ManorError(f"haproxy knows no server {', '.join(missing)} of {service.name}; it works by other files, or said: {completed.text[:80]!r}")
    opened = websockets(completed.text)
    return tuple(view(name, states[name], numbers[name], opened.get(name, 0)) for name in sorted(server.name for server in service.servers))


def parse_maintenance(service: ServiceView, completed: Completed) -> bool:
    """Tell whether the server is ready that stands for the page. Raises ManorError if there is none: the process works by other files."""
    states = admin_states(completed.text)
    if names.PAGE_SERVER not in states:
        raise ManorError(f"haproxy knows no maintenance page of {service.name}; it works by other files, or said: {completed.text[:80]!r}")
    return traffic_of(states[names.PAGE_SERVER]) is TrafficState.READY


def admin_states(text: str) -> dict[str, int]:
    """Return the administrative state of each server from `show servers state`."""
    rows = (line.split() for line in text.splitlines())
    return {row[3]: int(row[6]) for row in rows if len(row) >= 25 and row[0].isdigit()}


def statistics(text: str) -> dict[str, dict[str, str]]:
    """Return the row of each server from `show stat`."""
    _, found, table = text.partition("# pxname,")
    lines = ("pxname," + table.partition("# table:")[0]).splitlines() if found else []
    return {row["svname"]: row for row in csv.DictReader(line for line in lines if line)}


def websockets(text: str) -> dict[str, int]:
    """Return how many connections of each server were upgraded and are open, from `show table`; nothing where it has no such table."""
    return {name: int(count) for name, count in re.findall(r"^0x[0-9a-f]+: key=(\S+) .*\bconn_cur=(\d+)", text, re.MULTILINE)}


def view(name: str, admin: int, row: dict[str, str], opened: int) -> ServerView:
    """Return one server from its administrative state, its statistics and its open WebSockets."""
    return ServerView(
        name=name,
        traffic=traffic_of(admin),
        is_healthy=healthy(row["status"]),
        in_flight=int(row["scur"] or 0) + int(row["qcur"] or 0),
        websockets=opened,
        requests=int(row["stot"] or 0),
        detail=f"{row['status']} {row.get('check_status', '')}".strip(),
    )


def traffic_of(admin: int) -> TrafficState:
    """Return the traffic of an administrative state; the bit for `disabled` in the file stays after a server was made ready."""
    if admin & ~(FORCED_DRAIN | DISABLED_IN_FILE):
        return TrafficState.MAINT
    return TrafficState.DRAIN if admin & FORCED_DRAIN else TrafficState.READY


def healthy(status: str) -> bool | None:
    """Return whether checks pass; None while they have not agreed (`UP 1/2`) or are not made."""
    if status in ("UP", "DRAIN", "no check"):
        return True
    return False if status.startswith(("DOWN", "NOLB")) else None


def parse_access(line: str, tier: str) -> AccessRecord | None:
    """Return the record of a line of the log; None for another line."""
    if not line.startswith("{"):
        return None
    try:
        fields: dict[str, Any] = json.loads(line)
        return record(fields, tier)
    except (ValueError, KeyError):
        return None


def record(fields: dict[str, Any], tier: str) -> AccessRecord:
    """Return the record of parsed fields; `-` is HAProxy's word for nothing."""
    text = {name: "" if value == "-" else str(value) for name, value in fields.items()}
    upstream = text["upstream_status"]
    return AccessRecord(
        time=float(text["time"]),
        tier=tier,
        request_id=text["id"],
        service=text["service"],
        method=text["method"],
        host=text["host"],
        path=text["path"],
        status=max(0, int(text["status"])),
        upstream_status=int(upstream) if upstream else None,
        ended_by=ended_by(str(fields["end"])),
        seconds=max(0.0, float(text["seconds"])),
        bytes=int(text["bytes"]),
        slot=text["slot"],
        cache=text["cache"],
    )


def ended_by(state: str) -> Literal["done", "client", "us"]:
    """Return who ended a request, from HAProxy's two letters: who closed, and when (configuration.txt 8.5)."""
    who, when = state[:1], state[1:2]
    if who in ENDED_BY_CLIENT:
        return "client"
    # L and P while the request was read (R, T) are our own answers: pages, redirects, limits.
    is_own_answer = who in ("-", "L") or (who == "P" and when in "RT")
    return "done" if is_own_answer else "us"
