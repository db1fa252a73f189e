"""What nginx's checker, admin listener and log say, as values."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from manor.errors import ManorError
from manor.estate.topology import ServiceView, TierNode, TrafficState
from manor.execution.values import Completed
from manor.integrations.proxies.base import AccessRecord, ServerView
from manor.integrations.proxies.nginx.slots import own_servers

COMPLAINT = re.compile(r"^(?:nginx: |\d{4}/\d\d/\d\d [\d:]+ )\[(?:emerg|alert|crit)\] (?:\d+#\d+: )?(.*)$", re.MULTILINE)


def parse_check(completed: Completed) -> tuple[str, ...]:
    """Return what it refuses; warnings don't refuse a file."""
    if completed.code == 0:
        return ()
    text = (completed.out + completed.err).decode("utf-8", "replace")
    return tuple(dict.fromkeys(COMPLAINT.findall(text))) or (text.strip() or f"nginx -t ended with {completed.code}",)


def parse_version(completed: Completed) -> str:
    """Return e.g. `1.22.1`. Raises ManorError."""
    text = (completed.out + completed.err).decode("utf-8", "replace")
    match = re.search(r"nginx/(\d+(?:\.\d+)+)", text)
    if not match:
        raise ManorError(f"nginx -v said {text[:80]!r}, where a version was expected")
    return match[1]


def parse_ready(completed: Completed) -> str | None:
    """Return None if the numbers of `stub_status` came."""
    if completed.code == 200 and completed.text.startswith("Active connections"):
        return None
    return f"the admin listener answered {completed.code}: {completed.text[:80]!r}"


def parse_loaded(digest: str, completed: Completed) -> str | None:
    """Return None if the workers work by the files with this digest."""
    running = completed.text.strip()
    return None if completed.code == 200 and running == digest else f"the running workers work by other files ({running[:40] or completed.code}, not {digest})"


def parse_switch(node: TierNode, service: ServiceView, completed: Completed) -> tuple[ServerView, ...]:
    """Return this host's servers; nginx checks none and counts nothing. Raises ManorError."""
    told = dict(re.findall(r"(a|b)=(maint|drain|ready)", completed.text)) if completed.code == 200 else {}
    if not told:
        raise ManorError(f"nginx answered {completed.code} {completed.text[:80]!r}, where the slots of {service.name} were expected")
    return tuple(ServerView(one.name, TrafficState(told[one.slot]), None, detail=told[one.slot]) for one in own_servers(node, service))


def parse_maintenance(service: ServiceView, completed: Completed) -> bool:
    """Tell whether the process finds the flag of the maintenance page. Raises ManorError."""
    found = re.search(r"maintenance=(on|off)", completed.text) if completed.code == 200 else None
    if found is None:
        raise ManorError(f"nginx answered {completed.code} {completed.text[:80]!r}, where the maintenance page of {service.name} was expected")
    return found[1] == "on"


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
    """Return the record of parsed fields."""
    # nginx notes 502 or 504 as the upstream's status when it gave none; only the time of its header tells.
    answered = re.fullmatch(r"[\d.]+", last(fields["header_seconds"])) is not None
    upstream = int(last(fields["upstream_status"])) if answered else None
    status = int(fields["status"])
    return AccessRecord(
        time=float(fields["time"]),
        tier=tier,
        request_id=fields["id"],
        service=fields["service"],
        method=fields["method"],
        host=fields["host"],
        path=fields["path"],
        status=status,
        upstream_status=upstream,
        ended_by=ended_by(status, fields["end"], fields["upstream"], answered),
        seconds=float(fields["seconds"]),
        bytes=int(fields["bytes"]),
        slot=fields["slot"],
        cache=fields["cache"],
    )


def last(listed: str) -> str:
    """Return the last of a list, one entry for each server that was tried."""
    return listed.replace(":", ",").rpartition(",")[2].strip()


def ended_by(status: int, completion: str, upstream: str, answered: bool) -> Literal["done", "client", "us"]:
    """Return who ended a request; an answer that was cut short counts as the client's, for nginx does not tell."""
    if status == 499:
        return "client"
    if status in (502, 503, 504) and not answered:
        return "us"
    return "done" if completion == "OK" else "client"
