"""What a benchmark found, and the file that keeps it.

Invariant: a result that has a goal says whether it is met; one that misses its goal says why in `reason`; each was measured in one run.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docs" / "benchmarks.json"
PAGE = ROOT / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Result:
    """One number beside its peer's."""

    benchmark: str
    """The file in `bench/` that measured it."""
    name: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None
    """None: there is no goal for it; it explains another."""
    note: str = ""
    """How it was measured, with its timings; where the goal is missed, the profile."""
    reason: str = ""
    """Why the goal is missed; empty: it is not, or nobody knows yet."""


@dataclass(frozen=True)
class Measured:
    """One run: when, where, and which benchmarks whose results still stand."""

    began: str
    """UTC, e.g. `2026-11-28 13:14`; only the date where no more is known."""
    machine: dict[str, str]
    seconds: dict[str, float]
    """How long each benchmark took, with all it had to bring up and down."""

    @property
    def date(self) -> str:
        """Return the day."""
        return self.began[:10]

    def only(self, names: Collection[str]) -> Measured:
        """Return the run as if it had measured these alone."""
        return replace(self, seconds={name: taken for name, taken in self.seconds.items() if name in names})


@dataclass(frozen=True)
class Report:
    """What `docs/benchmarks.json` holds."""

    results: tuple[Result, ...] = ()
    runs: tuple[Measured, ...] = ()
    """Oldest first; a benchmark is in one of them."""

    @property
    def seconds(self) -> dict[str, float]:
        """Return how long each benchmark took."""
        return {name: taken for run in self.runs for name, taken in run.seconds.items()}

    @property
    def dates(self) -> dict[str, str]:
        """Return the day on which each benchmark was measured."""
        return {name: run.date for run in self.runs for name in run.seconds}

    def with_newer(self, other: Report) -> Report:
        """Return this report with those benchmarks replaced that another has measured anew; the others keep their run, with its date and machine."""
        kept = tuple(one for one in self.results if one.benchmark not in other.seconds)
        return Report((*kept, *other.results), (*left(self.runs, set(self.seconds) - set(other.seconds)), *other.runs))

    def in_order(self, names: Iterable[str]) -> Report:
        """Return the report with these benchmarks, in this order."""
        order = list(names)
        results = sorted((one for one in self.results if one.benchmark in order), key=lambda one: order.index(one.benchmark))
        return Report(tuple(results), left(self.runs, order))


def left(runs: Iterable[Measured], names: Collection[str]) -> tuple[Measured, ...]:
    """Return what is left of runs when only these benchmarks count."""
    return tuple(run for run in (run.only(names) for run in runs) if run.seconds)


def to_json(report: Report) -> str:
    """Return the file's text."""
    return json.dumps(asdict(report), indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> Report:
    """Return what a file says. Raises TypeError, KeyError or ValueError for another kind of file."""
    document: dict[str, Any] = json.loads(text)
    return Report(tuple(Result(**row) for row in document["results"]), tuple(Measured(**run) for run in document["runs"]))
