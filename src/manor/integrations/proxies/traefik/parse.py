"""From what Traefik prints and answers to values; pure."""

from __future__ import annotations

import datetime
import json
import re
from typing import Any, Literal

from manor.errors import ManorError, Unreachable
from manor.estate.topology import ServiceView, TrafficState
from manor.execution.values import Completed
from manor.integrations.proxies.base import AccessRecord, ServerView
from manor.integrations.proxies.traefik.switching import READY, server_name, url

GATEWAY_ERRORS = frozenset({502, 503, 504})
CLIENT_GONE = 499


def version(completed: Completed) -> str:
    """Return e.g. `3.7.15`. Raises ValueError if there is none."""
    found = re.search(r"Version:\s+(\S+)", completed.text)
    if found is None:
        raise ValueError(f"traefik printed no version: {completed.text[:200]!r}")
    return found[1]


def problems(completed: Completed) -> tuple[str, ...]:
    """Return what the throw-away instance refused, a line each."""
    if completed.code == 0:
        return ()
    lines = (completed.text + completed.err.decode("utf-8", "replace")).splitlines()
    return tuple(line.strip() for line in lines if line.strip()) or (f"the check ended with {completed.code} and said nothing",)


def readiness(completed: Completed) -> str | None:
    """Return None if it has read the estate's file."""
    if completed.code == 200:
        return None
    return f"traefik answers {completed.code} on its API; it has not read its files"


def servers(service: ServiceView, completed: Completed) -> tuple[ServerView, ...]:
    """Return how the running process treats the servers, sorted by name. Raises Unreachable of one that just starts: it has no API yet."""
    if completed.code != 200:
        raise Unreachable(f"traefik answers {completed.code} on its API; it has not read its files")
    entries: dict[str, Any] = {entry["name"].removesuffix("@file"): entry for entry in json.loads(completed.out)}
    taking = statuses(entries.get(f"{service.name}.{READY}"))
    views = []
    for server in service.servers:
        own = entries.get(server_name(service, server))
        if url(server) in taking:
            views.append(view(server.name, TrafficState.READY, taking[url(server)]))
        elif own is not None:
            views.append(view(server.name, TrafficState.DRAIN, statuses(own).get(url(server), "")))
        else:
            views.append(ServerView(server.name, TrafficState.MAINT, None, detail="not in its files"))
    return tuple(sorted(views, key=lambda one: one.name))


def maintenance(service: ServiceView, completed: Completed) -> bool:
    """Tell whether the running process has the router of the maintenance page. Raises ManorError for another answer than yes or no."""
    if completed.code not in (200, 404):
        raise ManorError(f"traefik answers {completed.code} on its API, where the maintenance page of {service.name} was expected")
    return completed.code == 200


def statuses(entry: Any) -> dict[str, str]:
    """Return the state of each server of a Traefik service, by URL."""
    if entry is None or entry.get("status") != "enabled":
        return {}
    known: dict[str, str] = entry.get("serverStatus", {})
    return {one["url"]: known.get(one["url"], "") for one in entry.get("loadBalancer", {}).get("servers", [])}


def view(name: str, traffic: TrafficState, word: str) -> ServerView:
    """Return one server."""
    return ServerView(name, traffic, {"UP": True, "DOWN": False}.get(word), detail=f"{traffic.value} {word}".strip())


def access(line: str, tier: str) -> AccessRecord | None:
    """Return the record of a line; None for one that is none."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict) or "RequestMethod" not in entry:
        return None
    return record(entry, tier)


def record(entry: dict[str, Any], tier: str) -> AccessRecord:
    """Return the record of a parsed line."""
    status = int(entry.get("DownstreamStatus", 0))
    seconds = entry.get("Duration", 0) / 1e9
    upstream = upstream_status(entry)
    return AccessRecord(
        time=seconds_since_1970(entry["StartUTC"]) + seconds,
        tier=tier,
        request_id=str(entry.get("request_X-Request-Id") or entry.get("TraceId") or ""),
        service=service_of(entry),
        method=entry["RequestMethod"],
        host=str(entry.get("RequestHost", "")),
        path=str(entry.get("RequestPath", "")).partition("?")[0],
        status=status,
        upstream_status=upstream,
        ended_by=ended_by(status, upstream, bool(entry.get("ServiceURL"))),
        seconds=seconds,
        bytes=int(entry.get("DownstreamContentSize", 0)),
        slot=str(entry.get("origin_X-Manor-Slot", "")),
        cache=str(entry.get("origin_X-Manor-Cache", "")),
    )


def service_of(entry: dict[str, Any]) -> str:
    """Return the service whose router answered: its name up to the first dot; empty for the tier's own routers.

    On an entry point that ends TLS by itself the router is called `<entry point>-<router>` (3.x, seen in its log).
    """
    name = str(entry.get("RouterName", "")).removeprefix(f"{entry.get('entryPointName', '')}-").partition(".")[0]
    return "" if name == "manor" else name


def upstream_status(entry: dict[str, Any]) -> int | None:
    """Return what the next hop answered. Traefik writes its own 502, 503 and 504 as if they were; an answer of others has a Date."""
    status = int(entry.get("OriginStatus", 0))
    is_ours = str(entry.get("ServiceName", "")).startswith("manor.pages")
    if not status or not entry.get("ServiceURL") or status == CLIENT_GONE or is_ours:
        return None
    return None if status in GATEWAY_ERRORS and "origin_Date" not in entry else status


def ended_by(status: int, upstream: int | None, was_passed_on: bool) -> Literal["done", "client", "us"]:
    """Return who ended a request."""
    if status in (0, CLIENT_GONE):
        return "client"
    return "us" if upstream is None and status in GATEWAY_ERRORS and was_passed_on else "done"


def seconds_since_1970(text: str) -> float:
    """Return a time written as RFC 3339 with up to nanoseconds, in seconds since 1970."""
    whole, _, rest = text.rstrip("Z").partition(".")
    moment = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.UTC)
    return moment.timestamp() + (float(f"0.{rest}") if rest else 0.0)
