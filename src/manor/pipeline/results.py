"""What is kept of a step besides its state: JSON in its row, and how attempts at it are read back.

Invariant: a step stands as its last attempt does.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from manor.pipeline.junit import Report
from manor.state.runs import RunStep


class Tests(BaseModel):
    """Totals of the reports of a `test` step."""

    model_config = ConfigDict(frozen=True)
    tests: int
    failed: int
    skipped: int
    seconds: float
    failures: tuple[tuple[str, str], ...] = ()
    """Name and message, the first 50."""


class Result(BaseModel):
    """What a step's row says in `result`."""

    model_config = ConfigDict(frozen=True)
    summary: str = ""
    outputs: str = ""
    """sha256 of the archive of what it left; empty: nothing."""
    artifact: str = ""
    """Digest of the artifact that it packed."""
    tests: Tests | None = None
    lost: bool = False
    """It ended without an exit code: the machine went down, or somebody killed its wrapper."""
    forced: bool = False
    """It is to be done anew although it passed before."""
    reused: str = ""
    """The run whose result stands here."""


def tests_of(report: Report) -> Tests:
    """Return what is kept of a report."""
    failures = tuple((failure.name, failure.message) for failure in report.failures)
    return Tests(tests=report.tests, failed=report.failed, skipped=report.skipped, seconds=round(report.seconds, 3), failures=failures)


def result_of(row: RunStep) -> Result:
    """Return the result in a row."""
    return Result.model_validate_json(row.result)


def attempts_at(name: str, rows: Iterable[RunStep]) -> tuple[RunStep, ...]:
    """Return the attempts at a step, in order."""
    return tuple(sorted((row for row in rows if row.name == name), key=lambda row: row.attempt))


def last_attempts(rows: Iterable[RunStep]) -> dict[str, RunStep]:
    """Return how each step stands, by name, in order."""
    return {row.name: row for row in sorted(rows, key=lambda row: (row.place, row.attempt))}
