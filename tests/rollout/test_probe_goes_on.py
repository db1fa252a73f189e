"""A probe that ended while nobody carried the rollout out is followed by another; what had to be asked and was not certifies nothing (docs/receipt.md)."""

from __future__ import annotations

import re

import pytest

from manor.errors import ApplyFailed
from manor.operations.planning import Result
from manor.operations.step import Here, decode_evidence
from manor.rollout.fleet import ProbeSummary
from manor.state import operations
from manor.state.words import OperationState, Outcome
from manor.workflows.probing import LONGEST_SECONDS
from tests.rollout.cases import case
from tests.rollout.model import ModelFleet, World
from tests.rollout.running import InlineStore, Killer, Run, begin
from tests.rollout.test_blame import Disturber, lose
from tests.rollout.test_rules import DiesIn

BEGINS_SECONDS = 3.0
"""So long a busy machine takes to have the probe ask."""


async def died_in_the_bake(store: InlineStore, bake: float = 5.0) -> Run:
    """Return a rollout whose executor died while it watched."""
    run = await begin(case("bakes", rules={"bake": bake}), store)
    assert await run.execute(DiesIn("bake")) is None
    return run


def away(world: World, seconds: float) -> None:
    """Let time pass in which nobody looks; what runs goes on."""
    world.now += seconds
    for program in world.programs.values():
        program.started_at += seconds


async def ended(run: Run, killer: Killer | None = None) -> Result:
    result = await run.execute(killer or Killer())
    assert result is not None
    return result


def seen_in(result: Result) -> ProbeSummary:
    (stopped,) = (step for step in result.steps if step.kind == "stop-probe" and step.outcome is Outcome.OK)
    return decode_evidence(stopped, ProbeSummary)


async def test_a_bake_that_begins_anew_is_probed_though_the_probes_time_was_up(rollouts: InlineStore) -> None:
    run = await died_in_the_bake(rollouts)
    away(run.world, 500_000.0)
    result = await ended(run)
    assert (result.operation.state, seen_in(result).gap, len(run.world.probe.runs)) == (OperationState.DONE, "", 2)


async def test_what_is_lost_in_that_bake_is_seen(rollouts: InlineStore) -> None:
    run = await died_in_the_bake(rollouts)
    away(run.world, 500_000.0)
    result = await ended(run, Disturber(run, "stop-probe", lose))
    assert (result.operation.state, run.world.standing.get("new")) == (OperationState.REVERTED, "burned")


async def test_a_probe_that_would_end_within_that_bake_is_followed_by_another(rollouts: InlineStore) -> None:
    run = await died_in_the_bake(rollouts, bake=60.0)
    deadline = rollouts.read_now(operations.get, run.operation).deadline
    assert deadline is not None
    away(run.world, round(deadline + LONGEST_SECONDS - 10.0 - run.world.now, 1))
    result = await ended(run)
    assert (result.operation.state, seen_in(result).gap, len(run.world.probe.runs)) == (OperationState.DONE, "", 2)


async def test_a_probe_that_runs_goes_on(rollouts: InlineStore) -> None:
    run = await died_in_the_bake(rollouts)
    away(run.world, 600.0)
    assert ((await ended(run)).operation.state, len(run.world.probe.runs)) == (OperationState.DONE, 1)


async def test_a_probe_that_had_died_before_the_bake_began_certifies_nothing(rollouts: InlineStore) -> None:
    run = await begin(case("bakes", rules={"bake": 5.0}), rollouts)
    killer = DiesIn("bake", Disturber(run, "stop", lambda world: world.probe.kill(world.now)))
    assert await run.execute(killer) is None
    away(run.world, 600.0)
    result = await ended(run)
    assert (result.operation.state, run.world.standing.get("new")) == (OperationState.REVERTED, None)
    assert "not measured to its end: nothing was asked for" in result.operation.summary


async def test_that_no_other_probe_can_be_begun_is_no_fault_of_the_release(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(fleet: ModelFleet, service: str, here: Here) -> None:
        raise ApplyFailed("the probe ended before it wrote that it asks")

    run = await died_in_the_bake(rollouts)
    away(run.world, 500_000.0)
    monkeypatch.setattr(ModelFleet, "start_probe", fails)
    result = await ended(run)
    assert (result.operation.state, run.world.standing.get("new")) == (OperationState.REVERTED, None)
    assert "echo: what is to be watched can't be probed: the probe ended before it wrote that it asks" in result.operation.summary


async def paused_at(run: Run, kind: str) -> None:
    """Carry a rollout out until somebody presses Ctrl-C in a step; it is gone on with a minute later."""
    result = await ended(run, Disturber(run, kind, lambda world: run.stop.request("stopped by SIGINT")))
    assert result.operation.state is OperationState.PAUSED
    run.stop = type(run.stop)()
    run.world.advance(60.0)


@pytest.mark.parametrize(
    ("serves", "kinds"),
    [
        (True, ("preflight",)),
        (True, ("preflight", "warm")),
        (True, ("start-probe",)),
        (True, ("bake",)),
        (False, ("preflight",)),
        (False, ("place",)),
        (False, ("admit",)),
        (False, ("preflight", "start", "admit")),
        (False, ("start-probe",)),
    ],
)
async def test_a_pause_is_no_reason_to_turn_round_whenever_it_is(
    serves: bool, kinds: tuple[str, ...], rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has to be asked before the probe was told to; a first release is admitted before that."""
    whole = ModelFleet.start_probe

    async def begins_later(fleet: ModelFleet, service: str, here: Here) -> None:
        await fleet.sleep(0.0 if fleet.world.probe.is_asking else BEGINS_SECONDS)
        await whole(fleet, service, here)

    monkeypatch.setattr(ModelFleet, "start_probe", begins_later)
    run = await begin(case("paused", hosts=2, rules={"bake": 5.0}, serves=serves), rollouts)
    for kind in kinds:
        await paused_at(run, kind)
    result = await ended(run)
    assert (result.operation.state, seen_in(result).gap) == (OperationState.DONE, ""), result.operation.summary
    assert run.world.standing["new"] == "certified"


async def test_requests_that_were_due_and_not_sent_certify_nothing(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ModelFleet.start_probe

    async def says_so_too_early(fleet: ModelFleet, service: str, here: Here) -> None:
        await whole(fleet, service, here)
        fleet.world.probe.silent_until = fleet.world.now + BEGINS_SECONDS

    monkeypatch.setattr(ModelFleet, "start_probe", says_so_too_early)
    run = await begin(case("silent", hosts=2), rollouts)
    result = await ended(run)
    assert (result.operation.state, run.world.standing.get("new")) == (OperationState.REVERTED, None)
    assert re.search(r"not measured to its end: \d+ requests were sent, \d+ were due", result.operation.summary)
