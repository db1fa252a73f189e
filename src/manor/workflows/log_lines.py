"""Reads when a line of a log was written, whatever wrote it, and merges lines of several logs by that.

Invariant: pure. A line without a time belongs to the line before it, so that a traceback stays in one piece.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from manor.integrations.proxies.base import AccessRecord

STAMP = re.compile(r"(?P<day>\d{4}[-/]\d\d[-/]\d\d)[T ](?P<time>\d\d:\d\d:\d\d)(?P<part>[.,]\d{1,9})?(?P<zone>Z|[+-]\d\d:?\d\d)?")
LOOK_CHARACTERS = 60
"""A line's own time stands near its beginning."""

ParseAccess = Callable[[str], AccessRecord | None]


@dataclass(frozen=True)
class Line:
    """One line of one log."""

    host: str
    source: str
    """The program, e.g. `shop-a`."""
    text: str
    time: float | None = None
    """Seconds since 1970; of the line before where this one has none."""
    record: AccessRecord | None = None
    """For a line of an access log."""


def time_of(text: str) -> float | None:
    """Return the time that a line begins with; one without a zone is this machine's."""
    found = STAMP.search(text[:LOOK_CHARACTERS])
    if found is None:
        return None
    part = (found["part"] or ".0").replace(",", ".")
    zone = (found["zone"] or "").replace("Z", "+00:00")
    try:
        moment = datetime.fromisoformat(f"{found['day'].replace('/', '-')}T{found['time']}{zone}").astimezone()
    except ValueError:
        return None
    return moment.timestamp() + float(part)


def read_lines(host: str, source: str, texts: Iterable[str], parse: ParseAccess | None, before: float | None = None) -> Iterator[Line]:
    """Yield lines with their times; `before` is the time of the line before the first."""
    for text in texts:
        record = parse(text) if parse else None
        before = record.time if record else (time_of(text) or before)
        yield Line(host, source, text, before, record)


def has_times(log: Sequence[Line]) -> bool:
    """Tell whether a log says when its lines were written."""
    return any(line.time is not None for line in log)


def merge(logs: Iterable[Sequence[Line]]) -> Iterator[Line]:
    """Yield the lines of several logs by time; each log keeps its own order, and what has no time yet comes first."""
    return heapq.merge(*(in_order(log) for log in logs), key=lambda line: line.time or 0.0)


def in_order(log: Sequence[Line]) -> Iterator[Line]:
    """Yield a log's lines with times that never go back, so that merging keeps their order; lines before the first time have that one."""
    latest = next((line.time for line in log if line.time is not None), 0.0)
    for line in log:
        latest = max(latest, line.time or 0.0)
        yield line if line.time == latest else Line(line.host, line.source, line.text, latest or None, line.record)
