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
from typing import Any

from manor.errors import ManorError
from manor.observe.probe.model import Lane, LossKind, Outcome, ProbeConfig

FORMAT = 1
LANES = (Lane.NEW, Lane.KEPT)
KINDS = (None, *LossKind)


@dataclass(frozen=True)
class Recording:
    """A results file as far as it goes."""

    config: ProbeConfig
    outcomes: tuple[Outcome, ...]
    unsent: int
    in_flight: int
    """At the last line; 0 after an orderly end. What became of them nobody knows."""
    ended: bool
    """It was stopped in order."""
    last_seen: float
    """Time of the last line, seconds since 1970."""


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


def read_results(path: Path) -> Recording:
    """Return what a probe process has recorded so far. Raises ManorError if it is no results file."""
    content = path.read_bytes()
    try:
        header, *lines = [json.loads(line) for line in content[: whole_lines(content)].splitlines()]
        return recording(header, [line for line in lines if "probe" not in line])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ManorError(f"{path}: no results of a probe: {error}") from error


def recording(header: dict[str, Any], lines: list[dict[str, Any]]) -> Recording:
    """Return the recording that a header and its lines say; a restarted probe has several headers, and the lines follow on."""
    if header["probe"] != FORMAT:
        raise ValueError(f"format {header['probe']}, this version reads {FORMAT}")
    last = lines[-1] if lines else {"at": header["at"], "in_flight": 0, "unsent": 0, "ended": False}
    return Recording(
        config=ProbeConfig.model_validate(header["config"]),
        outcomes=tuple(unpacked(row, line["at"]) for line in lines for row in line["rows"]),
        unsent=last["unsent"],
        in_flight=last["in_flight"],
        ended=last["ended"],
        last_seen=last["at"],
    )
