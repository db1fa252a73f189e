"""An executor that was killed and never comes back: guards return to traffic what it had taken out (docs/rollout.md, marks with guards)."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from manor.rollout.moving import Drained, DrainSlot
from manor.state.words import OperationState
from tests.rollout.cases import QUICK
from tests.rollout.model import EXPIRY, ModelFleet
from tests.rollout.running import EVERY, Case, InlineStore, Killer, Photo, Run, begin, photographed, require_accepted

CASES = {case.name: case for case in QUICK}


async def resumed_late(run: Run, photo: Photo) -> None:
    """Go on when deadlines may have passed: either end is right."""
    run.store.restore(photo.store)
    run.world = copy.deepcopy(photo.world)
    result = await run.killed_at([])
    assert result.operation.state in {OperationState.DONE, OperationState.REVERTED}, f"{photo.where}: {result.operation.summary}"
    late = replace(run, case=replace(run.case, expected=result.operation.state))
    require_accepted(late, result, photo.where)


NAMES = ["second", "500s", "in_turn", "in_turn_500s", "interrupt", "timed", "alone", "alone_exits_after_admit"]


async def go_on_late(name: str, rollouts: InlineStore, of_moments: slice) -> None:
    """Kill it at these moments, and go on only after the expiry: the same ends, and nothing lost."""
    run, photos = await photographed(CASES[name], rollouts)
    returned = 0
    for photo in photos[of_moments]:
        photo.world.advance(EXPIRY + 1.0)
        returned += len(photo.world.returned)
        await resumed_late(run, photo)
    assert returned or name in {"second", "500s", "timed", "alone"}, "in place of a slot that was drained nothing serves, so it is to come back"


@pytest.mark.parametrize("every", [EVERY, pytest.param(1, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("name", NAMES)
async def test_whoever_goes_on_after_the_guards_ends_well(name: str, every: int, rollouts: InlineStore) -> None:
    await go_on_late(name, rollouts, slice(len(name) % every, None, every))


@pytest.mark.parametrize("name", ["second", "in_turn", "interrupt"])
async def test_without_anybody_the_drained_slot_serves_again(name: str, rollouts: InlineStore) -> None:
    _, photos = await photographed(CASES[name], rollouts)
    marked = [photo.world for photo in photos if photo.world.marks]
    assert marked
    for world in marked:
        server, mark = next(iter(world.marks.items()))
        world.advance(EXPIRY + 1.0)
        serving = {name for name in (server, *mark.instead) if any(balancer.traffic[name] == "ready" for balancer in world.balancers) and world.is_up(name)}
        assert serving
        assert not world.is_maintained or server not in serving


async def test_a_slot_is_returned_when_what_was_admitted_in_its_place_ends(rollouts: InlineStore) -> None:
    _, photos = await photographed(CASES["second"], rollouts)
    world = next(photo.world for photo in photos if any(state == "drain" and name.endswith("-a") for name, state in photo.world.balancers[0].traffic.items()))
    server, mark = next(iter(world.marks.items()))
    for other in mark.instead:
        world.programs[other].is_dead = True
    world.advance(EXPIRY + 1.0)
    assert {name for _, name in world.returned} == {server}
    assert world.balancers[0].traffic[server] == "ready"


async def test_while_the_executor_lives_no_guard_acts(rollouts: InlineStore) -> None:
    """A request that takes longer than the expiry holds the drain up; the mark is renewed all the while."""
    case = CASES["in_turn"]
    slow = Case("slow", case.world, case.expected, case.rules)
    run = await begin(slow, rollouts)
    run.world.slow = {"web-1-a": 4.0}
    result = await run.execute(Killer())
    assert result is not None
    assert result.operation.state is OperationState.DONE
    assert not run.world.returned
    assert not run.world.lost


async def test_where_no_guard_can_be_the_evidence_says_so(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(fleet: ModelFleet, *_: object) -> str:
        return "no guard on edge-1: it can't run the service's health command"

    monkeypatch.setattr(ModelFleet, "guard", refuse)
    run = await begin(CASES["in_turn"], rollouts)
    result = await run.execute(Killer())
    assert result is not None
    told = [step.evidence for step in result.steps if step.kind == DrainSlot.kind]
    assert all("no guard on edge-1" in text for text in told)
    assert str(Drained(1.0, 2, 0, True, unguarded="no guard on edge-1: why")) == "2 requests in flight → 0; no guard on edge-1: why"
