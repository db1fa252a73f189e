"""What a benchmark found, and the file that keeps it.

Invariant: a result that has a goal says whether it is met; one that misses its goal says why in `note`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
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
    """How it was measured, with its timings; where the goal is missed, the profile and the reason."""


@dataclass(frozen=True)
class Report:
    """What `docs/benchmarks.json` holds."""

    machine: dict[str, str]
    results: tuple[Result, ...]
    durations: dict[str, float] = field(default_factory=dict)
    """Seconds that each benchmark took, with all it had to bring up and down."""

    def with_newer(self, other: Report) -> Report:
        """Return this report with those benchmarks replaced that another has measured anew."""
        kept = tuple(one for one in self.results if one.benchmark not in other.durations)
        return Report(other.machine, (*kept, *other.results), {**self.durations, **other.durations})

    def in_order(self, names: Iterable[str]) -> Report:
        """Return the report with its benchmarks in this order."""
        order = list(names)
        results = sorted((one for one in self.results if one.benchmark in order), key=lambda one: order.index(one.benchmark))
        return Report(self.machine, tuple(results), {name: self.durations[name] for name in order if name in self.durations})


def to_json(report: Report) -> str:
    """Return the file's text."""
    rows = [asdict(one) for one in report.results]
    return json.dumps({"machine": report.machine, "seconds": report.durations, "results": rows}, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> Report:
    """Return what a file says. Raises TypeError, KeyError or ValueError for another kind of file."""
    document: dict[str, Any] = json.loads(text)
    return Report(document["machine"], tuple(Result(**row) for row in document["results"]), document["seconds"])
