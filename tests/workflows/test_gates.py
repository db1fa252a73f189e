"""The gate `tests`: how it stands, by which report; what was asked at the door is kept with the rollout, as it stood then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from manor.errors import DifferencesFound
from manor.estate.load import load_estate
from manor.pipeline import results
from manor.pipeline.junit import Report
from manor.rollout.receipt import Gate
from manor.state import operations, releases, runs
from manor.state.releases import Artifact
from manor.state.runs import RunStep
from manor.state.words import RunState
from manor.workflows.artifacts import Origin
from manor.workflows.context import Context
from manor.workflows.deliveries import ship
from manor.workflows.gates import NO_REPORT, gate_problems, judge_gates
from manor.workflows.rolling import Carrying, read_asked
from tests.workflows.modelled import ESTATE

DIGEST = "d" * 64
PASSED = "<testsuite><testcase name='a'/><testcase name='b'><skipped/></testcase></testsuite>"
FAILED = "<testsuite><testcase name='a'/><testcase name='b'><failure/></testcase></testsuite>"


@pytest.fixture
def gated(context: Context) -> Context:
    """Two environments of a model; the second one asks for tests."""
    context.file.write_text(ESTATE.replace("prod: {", "prod: {gates: [tests], "))
    return replace(context, estate=load_estate(context.file))


async def ship_with(context: Context, report: str, version: str = "1") -> dict[str, tuple[Gate, ...]]:
    """Ship with a report; return what each environment's rollout keeps of gates."""
    built, junit = context.file.parent / f"built-{version}", context.file.parent / "report.xml"
    built.mkdir()
    (built / "VERSION").write_text(version)
    junit.write_text(report)
    await ship(context, "shop", built, Carrying("ada"), origin=Origin(version, junit=junit))
    found = await context.store.read(operations.recent, limit=10)
    return {operation.environment: read_asked(operation.arguments).gates for operation in found}


async def test_a_rollout_keeps_the_gates_of_its_environment_as_they_stood(gated: Context) -> None:
    kept = await ship_with(gated, PASSED)
    assert kept == {"dev": (), "prod": (Gate("tests", "pass", "2 tests, 0 failed, 1 skipped; by the report that was handed in"),)}


async def test_a_gate_that_does_not_hold_begins_no_rollout(gated: Context) -> None:
    assert await ship_with(gated, FAILED) == {"dev": ()}


async def test_where_the_first_environment_asks_it_is_refused_with_the_numbers(gated: Context, tmp_path: Path) -> None:
    gated.file.write_text(ESTATE.replace("dev: {", "dev: {gates: [tests], "))
    with pytest.raises(DifferencesFound, match="dev: gate tests: 1 of 2 tests failed"):
        await ship_with(replace(gated, estate=load_estate(gated.file)), FAILED)


async def test_tests_of_a_run_count_as_those_of_a_report_do(opened: Context) -> None:
    store = opened.store
    run = (await store.write(runs.add_run, "shop", "refs/heads/main", "a" * 40, "ann", 1.0)).id
    tests = results.Result(tests=results.tests_of(Report(12, 0, 2, 1.0)))
    await store.write(runs.put_step, RunStep(run, "unit", 1, 0, "k", RunState.PASSED, result=tests.model_dump_json()))
    await store.write(releases.add_artifact, Artifact(DIGEST, "shop", 1, "", "", run, "{}", 1.0))
    assert await judge_gates(opened, DIGEST, ["tests"]) == (Gate("tests", "pass", f"12 tests, 0 failed, 2 skipped; by run {run}"),)


async def test_without_a_report_it_does_not_hold(opened: Context) -> None:
    await opened.store.write(releases.add_artifact, Artifact(DIGEST, "shop", 1, "", "", "", "{}", 1.0))
    assert await gate_problems(opened, DIGEST, ["tests"]) == [f"gate tests: {NO_REPORT}"]
    assert await gate_problems(opened, DIGEST, []) == []
