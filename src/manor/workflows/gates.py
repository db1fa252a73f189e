"""What must hold before a release may enter an environment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from manor.rollout.receipt import Gate
from manor.state import releases
from manor.state.releases import Artifact
from manor.workflows.artifacts import tests_of
from manor.workflows.context import Context

NO_REPORT = "the artifact came without a report of tests; let the pipeline build it, or hand its report in too (--junit; API: field junit)"


async def judge_gates(context: Context, artifact: str, gates: Iterable[str]) -> tuple[Gate, ...]:
    """Return how gates stand for an artifact, with the numbers behind it."""
    row = await context.store.read(releases.get_artifact, artifact)
    return tuple([await CHECKS[gate](context, row) for gate in gates])


async def gate_problems(context: Context, artifact: str, gates: Iterable[str]) -> list[str]:
    """Return which gates do not hold for an artifact, and why."""
    return problems_of(await judge_gates(context, artifact, gates))


def problems_of(gates: Iterable[Gate]) -> list[str]:
    """Return which of the judged gates do not hold, and why."""
    return [f"gate {gate.name}: {gate.numbers}" for gate in gates if gate.verdict != "pass"]


async def judge_tests(context: Context, artifact: Artifact) -> Gate:
    """Return how the gate `tests` stands. It wants a report with at least one test and no failure."""
    report = await tests_of(context, artifact)
    if report is None or not report.tests:
        return Gate("tests", "fail", NO_REPORT)
    if report.failed:
        return Gate("tests", "fail", f"{report.failed} of {report.tests} tests failed")
    return Gate("tests", "pass", f"{report}; by {f'run {artifact.run}' if artifact.run else 'the report that was handed in'}")


CHECKS: dict[str, Callable[[Context, Artifact], Awaitable[Gate]]] = {"tests": judge_tests}
