"""The results file of a probe process: one JSON line a second, durable before the next.

A line is written whole or, after a crash, cut off: such a last line is passed over and the recording marked incomplete.

Invariant: what was once made durable is never written again, and a full disk delays lines instead of tearing them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from manor.errors import ManorError
from manor.observe.probe.model import Lane, LossKind, Outcome, ProbeConfig

FORMAT = 1
LANES = (Lane.NEW, Lane.KEPT)
KINDS = (None, *LossKind)


class Break(NamedTuple):
    """Between the last line of one process of a probe and the head of the next: nothing was asked, as far as anybody knows."""

    begin: float
    end: float
    in_flight: int
    """At its beginning."""


@dataclass(frozen=True)
class Recording:
    """Results files as far as they go."""

    config: ProbeConfig
    outcomes: tuple[Outcome, ...]
    unsent: int
    in_flight: int
    """At the last line; 0 after an orderly end. What became of them nobody knows."""
    ended: bool
    """It was stopped in order."""
    last_seen: float
    """Time of the last line, seconds since 1970."""
    breaks: tuple[Break, ...] = ()


class ResultsFile:
    """Appends lines."""

    def __init__(self, path: Path) -> None:
        """Open for appending; what a crash left of a line is cut off. Raises OSError."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._good = whole_lines(path.read_bytes())
        self._waiting = b""
        os.ftruncate(self._descriptor, self._good)

    def append(self, line: dict[str, Any]) -> None:
        """Add a line; durable when this returns. Raises OSError; then the line waits for the next call, and the file ends with a whole one."""
        self._waiting += json.dumps(line, separators=(",", ":")).encode() + b"\n"
        try:
            write_all(self._descriptor, self._waiting)
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self._good)
            raise
        self._good += len(self._waiting)
        self._waiting = b""

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it; a full disk takes a part first. Raises OSError."""
    while data:
        data = data[os.write(descriptor, data) :]


def whole_lines(content: bytes) -> int:
    """Return the length of the whole lines at the beginning."""
    return content.rfind(b"\n") + 1


def header_line(config: ProbeConfig, now: float) -> dict[str, Any]:
    """Return the first line of a run."""
    return {"probe": FORMAT, "at": now, "config": config.model_dump(mode="json")}


def outcome_line(now: float, outcomes: Iterable[Outcome], in_flight: int, unsent: int, *, ended: bool) -> dict[str, Any]:
    """Return the line of a second: times in seconds relative to `at`."""
    rows = [packed(each, now) for each in outcomes]
    return {"at": now, "in_flight": in_flight, "unsent": unsent, "ended": ended, "rows": rows}


def packed(outcome: Outcome, now: float) -> list[float | int]:
    """Return an outcome as a row of numbers."""
    times = (round(moment - now, 6) for moment in (outcome.due, outcome.sent, outcome.done))
    return [outcome.target, LANES.index(outcome.lane), *times, outcome.status, KINDS.index(outcome.kind)]


def unpacked(row: list[Any], now: float) -> Outcome:
    """Return a row as an outcome."""
    target, lane, due, sent, done, status, kind = row
    return Outcome(target, LANES[lane], due + now, sent + now, done + now, status, KINDS[kind])


def read_results(path: Path, *later: Path) -> Recording:
    """Return what a probe's processes have recorded so far, one file each. Raises ManorError if one is no results file."""
    try:
        return recording([line for each in (path, *later) for line in lines_in(each)])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ManorError(f"{path}: no results of a probe: {error}") from error


def lines_in(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a file. Raises ValueError, OSError."""
    content = path.read_bytes()
    return [json.loads(line) for line in content[: whole_lines(content)].splitlines()]


def recording(lines: list[dict[str, Any]]) -> Recording:
    """Return the recording that lines say, of which a header begins each process's."""
    heads = [number for number, line in enumerate(lines) if "probe" in line]
    header, last = lines[0], lines[-1]
    if header["probe"] != FORMAT:
        raise ValueError(f"format {header['probe']}, this version reads {FORMAT}")
    ends = [lines[number - 1] for number in heads[1:]]
    return Recording(
        config=ProbeConfig.model_validate(header["config"]),
        outcomes=tuple(unpacked(row, line["at"]) for line in lines for row in line.get("rows", ())),
        unsent=sum(end.get("unsent", 0) for end in (*ends, last)),
        in_flight=last.get("in_flight", 0),
        ended=last.get("ended", False),
        last_seen=last["at"],
        breaks=tuple(Break(end["at"], lines[head]["at"], end.get("in_flight", 0)) for end, head in zip(ends, heads[1:], strict=True)),
    )
