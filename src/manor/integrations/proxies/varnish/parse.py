"""From what Varnish prints to values; pure."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from manor.execution.values import Completed
from manor.integrations.proxies.base import AccessRecord


def version(completed: Completed) -> str:
    """Return e.g. `7.1.1`. Raises ValueError if there is none."""
    text = both(completed)
    found = re.search(r"varnish-(\d+(?:\.\d+)+)", text)
    if found is None:
        raise ValueError(f"varnishd printed no version: {text[:200]!r}")
    return found[1]


def both(completed: Completed) -> str:
    """Return all that was printed."""
    return completed.text + completed.err.decode("utf-8", "replace")


def problems(completed: Completed) -> tuple[str, ...]:
    """Return the compiler's words; empty when it accepted the file (it then prints the C that it made)."""
    if completed.code == 0:
        return ()
    lines = [line.rstrip() for line in both(completed).splitlines() if line.strip() and not line.startswith("Could not delete")]
    return tuple(lines[:40]) or (f"varnishd -C ended with {completed.code} and said nothing",)


def readiness(completed: Completed) -> str | None:
    """Return None if its worker runs."""
    text = both(completed).strip()
    return None if completed.code == 0 and "Child in state running" in text else f"varnish: {text or 'no answer'}"


def loaded(completed: Completed, wanted: str) -> str | None:
    """Return None if the active VCL has this name."""
    active = [line.split()[-1] for line in completed.text.splitlines() if line.startswith("active")]
    return None if active == [wanted] else f"varnish works by {', '.join(active) or 'no VCL'}, not by {wanted}"


def access(line: str) -> AccessRecord | None:
    """Return the record of a line; None for one that is none."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return record(entry) if isinstance(entry, dict) and "method" in entry else None


def record(entry: dict[str, Any]) -> AccessRecord:
    """Return the record of a parsed line."""
    given = {key: "" if value == "-" else str(value) for key, value in entry.items()}
    status = int(given["status"] or 0)
    upstream = given["upstream_status"]
    return AccessRecord(
        time=float(given["time"] or given["piped"] or 0.0),
        tier=given["tier"],
        request_id=given["id"],
        service=given["service"],
        method=given["method"],
        host=given["host"],
        path=given["path"].partition("?")[0],
        status=status,
        upstream_status=int(upstream) if upstream else None,
        ended_by=ended_by(status, upstream, given["end"]),
        seconds=int(given["seconds"] or 0) / 1e6,
        bytes=int(given["bytes"] or 0),
        slot=given["slot"],
        cache=given["cache"] or ("pass" if given["end"] == "pipe" else ""),
    )


def ended_by(status: int, upstream: str, handling: str) -> Literal["done", "client", "us"]:
    """Return who ended a request. Varnish's log does not tell a client that went away."""
    if status == 0:
        return "client"
    return "us" if status == 503 and not upstream and handling not in ("hit", "synth") else "done"
