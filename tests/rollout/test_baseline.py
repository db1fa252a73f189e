"""What is lost before the first act on a host is the service's own; all that is lost from then on counts against the rollout (docs/receipt.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from manor.errors import ApplyFailed
from manor.estate.model import Health, RolloutRules
from manor.operations.planning import Result
from manor.operations.step import Here, decode_evidence
from manor.rollout.fleet import ProbeSummary
from manor.rollout.losses import SoFar
from manor.rollout.plan import DOUBTFUL_SECONDS, InstanceNow, RolloutOrder, alone_seconds, baseline_seconds, longest_baseline_seconds
from manor.state.words import OperationState
from tests.rollout.balancers import Loss
from tests.rollout.cases import GOOD, NATURES, case, world
from tests.rollout.model import ModelFleet, World
from tests.rollout.running import Case, InlineStore, Run, begin, quick
from tests.rollout.test_blame import Disturber, lose


async def disturbed(store: InlineStore, asked: Case, kind: str, happens: Callable[[World], None]) -> tuple[Run, Result]:
    """Carry a rollout out in which something happens right before a kind of step."""
    run = await begin(asked, store)
    result = await run.execute(Disturber(run, kind, happens))
    assert result is not None
    return run, result


def seen_in(result: Result) -> ProbeSummary:
    """Return what the probe saw of a rollout that was certified."""
    (ended,) = (step for step in result.steps if step.kind == "stop-probe")
    return decode_evidence(ended, ProbeSummary)


@pytest.mark.parametrize("kind", ["place", "start", "warm", "admit", "drain", "stop", "bake"])
async def test_what_is_lost_from_the_first_act_on_a_host_on_is_held_against_the_rollout(rollouts: InlineStore, kind: str) -> None:
    run, result = await disturbed(rollouts, case("lost", hosts=2), kind, lose)
    assert (result.operation.state, run.world.standing.get("new")) == (OperationState.REVERTED, "burned"), result.operation.summary
    assert "the probe lost 1 of" in result.operation.summary


async def test_what_is_lost_before_is_not_and_the_probe_asks_on_until_it_is_known_what_that_was(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    lose_at_the_beginning(monkeypatch, 1)
    _, result = await disturbed(rollouts, case("before"), "", lose)
    assert result.operation.state is OperationState.DONE, result.operation.summary
    assert (seen_in(result).lost, seen_in(result).lost_before) == (1, 1)
    (begun,) = (step for step in result.steps if step.kind == "start-probe")
    assert (begun.done_at or 0.0) - (begun.intent_at or 0.0) >= DOUBTFUL_SECONDS


def failing() -> World:
    """A world in which the old release answers 500 everywhere."""
    made = world(GOOD, 2, 1)
    made.natures = {"old": NATURES["500s"], "new": GOOD}
    made.serve("old")
    made.balancers[0].healthy = dict.fromkeys(made.servers, False)
    return made


@pytest.mark.parametrize(("kind", "state"), [("warm", OperationState.DONE), ("bake", OperationState.REVERTED)])
async def test_of_a_service_that_was_failing_the_new_release_has_to_lose_nothing_alone(rollouts: InlineStore, kind: str, state: OperationState) -> None:
    _, result = await disturbed(rollouts, Case("mends", failing, state, quick()), kind, lose)
    assert result.operation.state is state, result.operation.summary


@pytest.mark.parametrize(("kind", "state"), [("warm", OperationState.DONE), ("drain", OperationState.DONE), ("bake", OperationState.REVERTED)])
async def test_what_the_old_release_loses_turns_no_return_round(rollouts: InlineStore, kind: str, state: OperationState) -> None:
    asked = replace(case("return"), is_return=True)
    _, result = await disturbed(rollouts, asked, kind, lose)
    assert result.operation.state is state, result.operation.summary


async def test_a_release_that_mends_one_that_loses_a_little_is_certified(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    lose_at_the_beginning(monkeypatch, 1)
    run, result = await disturbed(rollouts, case("mends a little"), "warm", lose)
    assert (result.operation.state, run.world.standing["new"]) == (OperationState.DONE, "certified"), result.operation.summary
    assert (seen_in(result).lost, seen_in(result).lost_before) == (2, 1)


def lose_at_the_beginning(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Have requests be lost once the probe asks."""
    whole = ModelFleet.start_probe

    async def lossy(fleet: ModelFleet, service: str, here: Here) -> None:
        await whole(fleet, service, here)
        fleet.world.losses += [Loss(fleet.world.now, "", "refused", is_fault=True)] * count

    monkeypatch.setattr(ModelFleet, "start_probe", lossy)


async def test_a_blip_before_does_not_excuse_what_is_lost_later(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def many(made: World) -> None:
        made.losses += [Loss(made.now, "", "refused", is_fault=True)] * 50

    lose_at_the_beginning(monkeypatch, 1)
    run, result = await disturbed(rollouts, case("blip"), "warm", many)
    assert (result.operation.state, "new" in run.world.standing) == (OperationState.REVERTED, False), result.operation.summary
    assert "are far more than 1 of" in result.operation.summary


@pytest.mark.parametrize("lost", [0, 1])
async def test_who_lost_something_is_asked_on_until_enough_was_asked_alone(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    lose_at_the_beginning(monkeypatch, lost)
    asked = replace(case("alone", rules={"bake": 0.0}), probe_period_seconds=2.0)
    _, result = await disturbed(rollouts, asked, "warm" if lost else "", lose)
    assert result.operation.state is OperationState.DONE, result.operation.summary
    (ended,) = (step for step in result.steps if step.kind == "stop-probe")
    assert (ended.done_at or 0.0) - (ended.intent_at or 0.0) == pytest.approx(10.5 * lost, abs=0.05)


async def test_a_probe_that_can_not_say_what_it_has_seen_is_only_stopped(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def mute(fleet: ModelFleet, service: str, here: Here) -> SoFar:
        raise ApplyFailed("the probe ended before it wrote that it asks")

    async def mute_at_the_end(fleet: ModelFleet, service: str, here: Here) -> SoFar:
        return SoFar()

    monkeypatch.setattr(ModelFleet, "probed", mute_at_the_end)
    run = await begin(case("mute"), rollouts)
    result = await run.execute(Disturber(run, "stop-probe", lambda _: monkeypatch.setattr(ModelFleet, "probed", mute)))
    assert result is not None
    assert result.operation.state is OperationState.DONE, result.operation.summary


ORDER = RolloutOrder("echo", "new", (InstanceNow("web-1", "a", "old"),), RolloutRules(), Health(http="/healthz"), 30.0, 0.0)


@pytest.mark.parametrize(
    ("order", "seconds", "longest"),
    [
        (ORDER, 1.0, 15.0),
        (replace(ORDER, is_return=True), 1.0, 0.0),
        (replace(ORDER, is_return=True, probe_period_seconds=4.0), 1.0, 0.0),
        (replace(ORDER, instances=(InstanceNow("web-1", None),)), 0.0, 0.0),
        (replace(ORDER, rules=RolloutRules(strategy="in_turn")), 2.0, 15.0),
        (replace(ORDER, rules=RolloutRules(strategy="interrupt", longest_outage=9.0)), 2.0, 0.0),
        (replace(ORDER, probe_period_seconds=4.0), 4.5, 15.0),
        (replace(ORDER, probe_period_seconds=100.0), 15.0, 15.0),
    ],
    ids=["two slots", "a rollback", "a rollback, seldom", "a first release", "one slot", "a singleton", "seldom", "hardly ever"],
)
def test_how_long_the_probe_asks_before_anything_is_touched(order: RolloutOrder, seconds: float, longest: float) -> None:
    assert (baseline_seconds(order), longest_baseline_seconds(order)) == (seconds, longest)


@pytest.mark.parametrize(
    ("order", "seconds"),
    [
        (replace(ORDER, probe_period_seconds=0.05), 0.75),
        (replace(ORDER, probe_period_seconds=1.0), 5.5),
        (replace(ORDER, probe_period_seconds=1.0, bake_seconds=4.0), 1.5),
        (replace(ORDER, probe_period_seconds=1.0, bake_seconds=600.0), 0.0),
        (replace(ORDER, probe_period_seconds=100.0), 60.0),
        (replace(ORDER, probe_period_seconds=1.0, is_return=True), 0.0),
        (replace(ORDER, probe_period_seconds=1.0, instances=(InstanceNow("web-1", None),)), 0.0),
        (replace(ORDER, probe_period_seconds=1.0, rules=RolloutRules(strategy="interrupt", longest_outage=9.0)), 0.0),
    ],
    ids=["often", "seldom", "a short bake", "a bake", "hardly ever", "a rollback", "a first release", "a singleton"],
)
def test_how_long_the_probe_asks_on_where_something_was_lost(order: RolloutOrder, seconds: float) -> None:
    assert alone_seconds(order) == pytest.approx(seconds)
