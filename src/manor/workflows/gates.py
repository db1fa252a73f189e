"""What must hold before a release may enter an environment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from manor.state import releases
from manor.state.releases import Artifact
from manor.workflows.artifacts import tests_of
from manor.workflows.context import Context


async def gate_problems(context: Context, artifact: str, gates: Iterable[str]) -> list[str]:
    """Return which gates do not hold for an artifact, and why."""
    row = await context.store.read(releases.get_artifact, artifact)
    found = [await CHECKS[gate](context, row) for gate in gates]
    return [problem for problem in found if problem]


async def tests_problem(context: Context, artifact: Artifact) -> str:
    """Return why the gate `tests` does not hold; empty: it does. It wants a report with at least one test and no failure."""
    report = await tests_of(context, artifact)
    if report is None or not report.tests:
        return "gate tests: the artifact came without a report of tests; let the pipeline build it, or hand its report in too (--junit; API: field junit)"
    return f"gate tests: {report.failed} of {report.tests} tests failed" if report.failed else ""


CHECKS: dict[str, Callable[[Context, Artifact], Awaitable[str]]] = {"tests": tests_problem}
