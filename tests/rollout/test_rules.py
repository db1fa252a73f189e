"""What a rollout refuses, waits for, leaves alone and says (docs/rollout.md)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from manor.estate.model import Health, RolloutRules
from manor.estate.topology import TrafficState
from manor.operations.chaos import Point
from manor.operations.planning import Result
from manor.operations.step import decode_evidence
from manor.rollout.fleet import ProbeSummary
from manor.rollout.moving import Drained
from manor.rollout.plan import InstanceNow, RolloutOrder, batches, plan_rollout, total_seconds
from manor.rollout.story import told_end
from manor.rollout.wayback import Failure, plan_return
from manor.state.words import OperationState, Outcome
from tests.rollout.cases import GOOD, NATURES, ONE_SLOT, UNCHECKED, case, world
from tests.rollout.model import World
from tests.rollout.natures import Behaviour, Program
from tests.rollout.running import Case, InlineStore, Killed, Killer, Run, begin, problems_of, quick


async def carried_out(case: Case, store: InlineStore) -> tuple[Run, Result]:
    run = await begin(case, store)
    result = await run.execute(Killer())
    assert result is not None
    return run, result


def told(run: Run, result: Result) -> str:
    return told_end(run.order, "prod", result.operation.state, result.steps, "20260131t090000-1a2b3c")


async def test_a_failed_release_is_turned_round_in_one_sentence(rollouts: InlineStore) -> None:
    run, result = await carried_out(case("500s", NATURES["500s"]), rollouts)
    assert told(run, result) == (
        "echo new was turned round in prod: web-1: /healthz answers 500, not 200; echo/b was not healthy in time (8 s); "
        "old serves as before; receipt 20260131t090000-1a2b3c"
    )
    assert "/healthz answers 500, not 200" in result.operation.summary
    assert run.world.burned_why.startswith("web-1: /healthz answers 500")


async def test_hosts_that_were_not_reached_are_not_touched(rollouts: InlineStore) -> None:
    run, _ = await carried_out(case("500s", NATURES["500s"], hosts=5), rollouts)
    assert run.world.touched_hosts == {"web-1"}


async def test_a_failed_first_release_leaves_503_and_says_so(rollouts: InlineStore) -> None:
    run, result = await carried_out(case("first_fails", NATURES["flaps"], serves=False), rollouts)
    assert problems_of(run, result) == []
    assert "nothing of echo was certified here yet, so its route answers 503 with our page" in told(run, result)


async def test_what_stands_in_the_way_is_told_and_nothing_is_touched_or_burned(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def busy(*_: object) -> tuple[str, ...]:
        return ("web-1: port 8101 of slot b is in use",)

    monkeypatch.setattr("tests.rollout.model.ModelFleet.preflight", busy)
    run, result = await carried_out(case("busy"), rollouts)
    assert result.operation.state is OperationState.REVERTED
    assert run.world.acts == []
    assert "new" not in run.world.standing
    assert "web-1: port 8101 of slot b is in use; old serves as before" in told(run, result)


async def test_too_few_others_hold_the_rollout_instead_of_draining(rollouts: InlineStore) -> None:
    run = await begin(case("few", rules={"min_healthy": 1.0}), rollouts)
    for server in ("web-2-a", "web-3-a"):
        run.world.programs[server].is_dead = True
    result = await run.execute(Killer())
    assert result is not None
    assert result.operation.state is OperationState.PAUSED
    assert result.operation.summary.startswith("edge-1: only 1 healthy beside web-1-a, 3 needed; nothing was taken out.")
    assert run.world.balancers[0].traffic["web-1-a"] is TrafficState.READY
    run.world.now += 500_000.0
    run.world.losses.clear()
    for name, program in run.world.programs.items():
        program.started_at, program.is_dead = run.world.now - 1000.0, False
        run.world.balancers[0].healthy[name] = True
    assert problems_of(run, await run.killed_at([])) == [], "the others were mended, however long that took"


async def test_too_few_others_hold_it_also_where_the_tiers_check_nothing(rollouts: InlineStore) -> None:
    run = await begin(case("few_alone", rules={"min_healthy": 1.0}, **UNCHECKED), rollouts)
    for server in ("web-2-a", "web-3-a"):
        run.world.programs[server].is_dead = True
    result = await run.execute(Killer())
    assert result is not None
    assert result.operation.state is OperationState.PAUSED, result.operation.summary
    assert "only 1 healthy beside web-1-a, 3 needed; nothing was taken out." in result.operation.summary


def slow_old(seconds: float) -> World:
    made = world(GOOD, 1, 1)
    made.slow["web-1-a"] = seconds
    return made


@pytest.mark.parametrize(
    ("policy", "expected", "was_cut"),
    [("extend", OperationState.DONE, False), ("cut", OperationState.REVERTED, True), ("abort", OperationState.REVERTED, None)],
)
async def test_drain_policies(rollouts: InlineStore, policy: str, expected: OperationState, was_cut: bool | None) -> None:
    made = Case(policy, partial(slow_old, 5.0), expected, quick(drain_policy=policy))
    run, result = await carried_out(made, rollouts)
    assert result.operation.state is expected, result.operation.summary
    drains = [step for step in result.steps if step.kind == "drain" and step.plan == 0]
    if was_cut is None:
        assert "requests in flight after 3 s; nothing was cut" in drains[0].evidence
        assert run.world.standing.get("new") is None, "an old release that is slow to finish does not burn the new one"
    else:
        drained = decode_evidence(drains[0], Drained)
        assert drained.was_cut is was_cut
        assert bool(run.world.lost) is was_cut


async def test_websockets_are_left_to_their_program_and_hold_no_drain_up(rollouts: InlineStore) -> None:
    def talking() -> World:
        made = world(GOOD, 1, 2)
        made.websockets["web-1-a"] = 3
        return made

    run, result = await carried_out(Case("talking", talking, OperationState.DONE, quick(drain_policy="abort")), rollouts)
    assert result.operation.state is OperationState.DONE, result.operation.summary
    (drain,) = (step for step in result.steps if step.kind == "drain")
    drained = decode_evidence(drain, Drained)
    assert (drained.websockets, drained.left, drained.was_cut) == (3, 0, False)
    assert str(drained).endswith("requests in flight → 0; WebSockets left to its program to close: 3")
    assert (run.world.lost, run.world.websockets) == ([], {})


async def test_nothing_is_stopped_while_a_connection_is_open_that_no_balancer_counts(rollouts: InlineStore) -> None:
    def kept(seconds: float) -> World:
        made = world(GOOD, 1, 1)
        made.kept_until["web-1-a"] = made.now + seconds
        return made

    run, result = await carried_out(Case("kept", partial(kept, 4.0), OperationState.DONE, quick()), rollouts)
    assert (result.operation.state, run.world.lost) == (OperationState.DONE, [])
    assert [step.evidence for step in result.steps if step.kind == "stop"] == ["gone"]
    run, result = await carried_out(Case("for ever", partial(kept, 9999.0), OperationState.REVERTED, quick()), rollouts)
    (stop,) = (step for step in result.steps if step.kind == "stop" and step.plan == 0)
    assert stop.evidence == "gone; connections to it that were still open: 1", "it is waited for, but not for ever, and told"
    assert [loss.why for loss in run.world.lost] == ["stopped while an idle connection was open"]


async def test_progress_deadline_counts_from_the_last_instance_that_became_healthy(rollouts: InlineStore) -> None:
    rules: dict[str, Any] = {"instance_deadline": 60.0, "progress_deadline": 6.0}
    run, result = await carried_out(case("slow", Behaviour(boot=3.0), rules=rules), rollouts)
    assert result.operation.state is OperationState.DONE, result.operation.summary
    assert run.world.now - (result.operation.started_at or 0) > 12.0
    _, late = await carried_out(case("late", Behaviour(boot=20.0), rules=rules), rollouts)
    assert late.operation.state is OperationState.REVERTED
    assert "web-1: connection refused; echo/b was not healthy in time" in late.operation.summary


async def test_a_total_deadline_that_passed_turns_the_rollout_round(rollouts: InlineStore) -> None:
    run = await begin(case("late", Behaviour()), rollouts)
    await run.execute(Killer(30))
    run.world.advance(1.0)
    run.world.now += 500_000.0
    run.world.programs["web-1-a"].started_at = run.world.now - 1000.0
    result = await run.execute(Killer())
    assert result is not None
    assert result.operation.state is OperationState.REVERTED
    assert "deadline passed" in result.operation.summary
    assert "nobody carried the rollout out until" in told(run, result)
    assert "new" not in run.world.standing, "a release that works is not burned because nobody went on"


async def test_a_release_that_does_not_work_is_burned_however_late_somebody_goes_on(rollouts: InlineStore) -> None:
    run = await begin(case("late_500s", NATURES["500s"]), rollouts)
    await run.execute(Killer(30))
    run.world.now += 500_000.0
    run.world.programs["web-1-a"].started_at = run.world.now - 1000.0
    result = await run.execute(Killer())
    assert result is not None
    assert (result.operation.state, run.world.standing["new"]) == (OperationState.REVERTED, "burned")


def instance(host: str, *, is_healthy: bool = True) -> InstanceNow:
    return InstanceNow(host, "a", "old", is_healthy)


async def test_unhealthy_instances_are_replaced_first_and_one_goes_alone(rollouts: InlineStore) -> None:
    run = await begin(case("order", hosts=5), rollouts)
    order: RolloutOrder = replace(run.order, instances=(*(instance(f"web-{n}") for n in (1, 2, 3, 4)), instance("web-5", is_healthy=False)))
    assert [[now.host for now in batch] for batch in batches(order)] == [["web-5"], ["web-1", "web-2"], ["web-3", "web-4"]]


async def test_an_unhealthy_current_release_does_not_block_the_next(rollouts: InlineStore) -> None:
    def sick() -> World:
        made = world(GOOD, 2, 1)
        made.programs["web-2-a"].is_dead = True
        made.balancers[0].healthy["web-2-a"] = False
        return made

    run, result = await carried_out(Case("sick", sick, OperationState.DONE, quick()), rollouts)
    assert [now.is_healthy for now in run.order.instances] == [True, False]
    assert problems_of(run, result) == []


@pytest.mark.parametrize("unsupervised", [set(), {"web-1"}], ids=["supervised", "supervisor-dead"])
async def test_what_an_abandoned_rollout_left_is_cleared_by_the_next(rollouts: InlineStore, unsupervised: set[str]) -> None:
    def left() -> World:
        made = world(GOOD, 2, 1)
        made.unsupervised |= unsupervised
        made.programs["web-1-b"], made.placed["web-1-b"] = Program("old", GOOD, made.now - 50.0), "old"
        made.remembered["web-1-b"] = made.balancers[0].traffic["web-1-b"] = TrafficState.READY
        made.balancers[0].healthy["web-1-b"] = True
        return made

    run, result = await carried_out(Case("left", left, OperationState.DONE, quick()), rollouts)
    assert run.order.instances[0].is_idle_used
    assert problems_of(run, result) == []


async def test_what_serves_counts_though_a_supervisor_is_dead_and_memory_says_otherwise(rollouts: InlineStore) -> None:
    def moved() -> World:
        made = world(GOOD, 2, 1)
        made.active["web-1"] = "b"
        made.unsupervised = {"web-1"}
        return made

    run, result = await carried_out(Case("moved", moved, OperationState.DONE, quick()), rollouts)
    assert [now.active for now in run.order.instances] == ["a", "a"]
    assert problems_of(run, result) == []


async def test_nothing_is_burned_that_is_certified(rollouts: InlineStore) -> None:
    run = await begin(case("again", NATURES["500s"]), rollouts)
    run.world.standing["new"] = "certified"
    result = await run.execute(Killer())
    assert result is not None
    assert run.world.standing["new"] == "certified"
    assert [step.outcome for step in result.steps if step.kind == "burn"] == [Outcome.OK]


async def test_on_the_way_back_of_in_turn_the_host_that_carries_nothing_comes_first(rollouts: InlineStore) -> None:
    order = (await begin(case("in_turn", hosts=3, rules=ONE_SLOT, slots="a"), rollouts)).order
    begun = [planned.step for planned in plan_rollout(order)]
    back = plan_return(order, begun, Failure("web-3 does not stay up", is_of_release=True))
    assert list(dict.fromkeys(planned.step.host for planned in back if planned.step.host)) == ["web-3", "web-2", "web-1"]


async def test_a_release_that_mends_a_service_is_not_turned_round_for_what_was_lost_before(rollouts: InlineStore) -> None:
    def broken() -> World:
        made = World(2, 1, {"old": NATURES["500s"], "new": GOOD})
        made.serve("old")
        made.balancers[0].healthy = dict.fromkeys(made.servers, False)
        return made

    run, result = await carried_out(Case("mends", broken, OperationState.DONE, quick()), rollouts)
    assert result.operation.state is OperationState.DONE, result.operation.summary
    (ended,) = (step for step in result.steps if step.kind == "stop-probe")
    seen = decode_evidence(ended, ProbeSummary)
    assert seen.lost_before > 5
    assert seen.losses.verdict(0) == "not judged"
    assert (seen.losses.lost_since > 5, seen.alone.sent > 5, seen.alone.lost) == (True, True, 0)
    assert run.world.standing["new"] == "certified"


class DiesIn(Killer):
    """The executor dies in the act of the first step of a kind, and something else happens before."""

    def __init__(self, kind: str, before: Killer | None = None) -> None:
        super().__init__()
        self.kind, self.before = kind, before or Killer()

    def __call__(self, seq: int, kind: str, point: Point) -> None:
        super().__call__(seq, kind, point)
        self.before(seq, kind, point)
        if (kind, point) == (self.kind, Point.AFTER_INTENT):
            raise Killed


async def test_a_bake_that_nobody_watched_for_long_begins_anew_and_is_no_reason_to_turn_round(rollouts: InlineStore) -> None:
    run = await begin(case("bakes", rules={"bake": 5.0}), rollouts)
    assert await run.execute(DiesIn("bake")) is None
    run.world.now += 500_000.0
    for program in run.world.programs.values():
        program.started_at += 500_000.0
    result = await run.execute(Killer())
    assert result is not None
    assert result.operation.state is OperationState.DONE, result.operation.summary
    assert run.world.standing["new"] == "certified"


def test_a_rollout_may_take_as_long_as_its_parts_and_no_day_more() -> None:
    instances = tuple(instance(f"web-{n}") for n in (1, 2))
    order = RolloutOrder("echo", "new", instances, RolloutRules(), Health(http="/healthz"), 30.0, 600.0, "old")
    assert total_seconds(plan_rollout(order)) < 2 * 3600


async def test_what_is_back_and_works_no_better_than_before_is_not_said_to_serve(rollouts: InlineStore) -> None:
    def broken() -> World:
        made = World(2, 1, {"old": NATURES["500s"], "new": NATURES["does_not_start"]})
        made.serve("old")
        made.balancers[0].healthy = dict.fromkeys(made.servers, False)
        return made

    run, result = await carried_out(Case("both_broken", broken, OperationState.REVERTED, quick()), rollouts)
    said = told(run, result)
    assert "; old is back and does not pass its check (web-1: /healthz answers 500, not 200; web-2: /healthz answers 500, not 200); receipt " in said
    assert "serves as before" not in said


async def test_the_phase_says_how_far_it_is(rollouts: InlineStore) -> None:
    run, _ = await carried_out(case("phases", hosts=1), rollouts)
    told_once = list(dict.fromkeys(run.world.phases))
    assert told_once == ["preflight", "placing", "warming", "admitting", "draining", "stopping", "observing", "deployed", "certified"]
