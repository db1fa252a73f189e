"""What must hold before a release may enter an environment."""

from __future__ import annotations

import json
from collections.abc import Iterable

from manor.state import releases
from manor.workflows.context import Context


async def gate_problems(context: Context, artifact: str, gates: Iterable[str]) -> list[str]:
    """Return which gates do not hold for an artifact, and why."""
    row = await context.store.read(releases.get_artifact, artifact)
    facts = json.loads(row.manifest or "{}")
    return [problem for gate in gates if (problem := CHECKS[gate](facts))]


def tests_problem(facts: dict[str, object]) -> str:
    """Return why the tests gate does not hold; empty: it does. It wants a report with at least one test and no failure."""
    tests = facts.get("tests")
    if not isinstance(tests, dict) or not tests.get("total"):
        return "gate tests: the artifact came without a report of tests; let the pipeline build it, or hand the report in with --junit"
    if tests.get("failed"):
        return f"gate tests: {tests['failed']} of {tests['total']} tests failed"
    return ""


CHECKS = {"tests": tests_problem}
