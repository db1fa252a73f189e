"""A server that a person took out of traffic stays out until a person ends it, and is reminded of (docs/rollout.md, taken out by hand)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from manor.errors import ManorError, Unreachable
from manor.estate.topology import TrafficState
from manor.execution.values import HostPath
from manor.observe.slots import read_slots, traffic_of
from manor.operations.chaos import Point
from manor.operations.step import Here
from manor.reconcile.switching import write_switch_files
from manor.rollout.fleet import SlotRef
from manor.rollout.live import LiveFleet
from manor.rollout.probing import Prober
from manor.state import journal
from manor.state.words import OperationState
from tests.reconcile.toys import Toy, wiring_of
from tests.rollout.cases import NATURES, ONE_SLOT, case
from tests.rollout.model import ModelClock, World
from tests.rollout.running import Case, InlineStore, Killer, Run, begin, host_problems
from tests.rollout.test_guarding import begun
from tests.rollout.test_untouchable import fleet_of

A, B = SlotRef("echo", "web-1", "a"), SlotRef("echo", "web-1", "b")
LONG = 500_000.0
"""A person takes longer than any deadline."""
READY, DRAIN, MAINT = TrafficState.READY, TrafficState.DRAIN, TrafficState.MAINT


class ByHand(Killer):
    """A person who takes a server out right before a step, over the balancer's own socket."""

    def __init__(self, run: Run, server: str, kind: str, host: str) -> None:
        super().__init__()
        self.run, self.server, self.before = run, server, (kind, host)

    def __call__(self, seq: int, kind: str, point: Point) -> None:
        super().__call__(seq, kind, point)
        step = self.run.store.read_now(journal.get, self.run.operation, seq)
        if point is Point.BEFORE_INTENT and (kind, step.host) == self.before:
            self.run.world.balancers[0].traffic[self.server] = DRAIN


async def told_after(run: Run, case: Case) -> str:
    """Carry the rollout out and return how it ended."""
    result = await run.execute(Killer())
    assert result is not None
    assert result.operation.state is case.expected
    return result.operation.summary


async def test_a_rollout_does_not_begin_while_a_person_has_a_server_out(rollouts: InlineStore) -> None:
    asked = replace(case("held"), expected=OperationState.REVERTED)
    run = await begin(asked, rollouts)
    run.world.balancers[0].traffic["web-2-a"] = DRAIN
    told = await told_after(run, asked)
    assert "edge-1 has web-2-a out of traffic; `set server echo/web-2-a state ready`" in told
    assert run.world.acts == []
    assert "new" not in run.world.standing
    assert run.world.balancers[0].traffic["web-2-a"] is DRAIN


@pytest.mark.parametrize(("rules", "kind"), [({}, "admit"), (ONE_SLOT, "drain")])
async def test_taken_out_in_the_middle_the_rollout_holds_and_goes_on_when_it_is_ended(rollouts: InlineStore, rules: dict[str, str], kind: str) -> None:
    run = await begin(case("middle", rules=dict(rules), slots="a" if rules else "ab"), rollouts)
    held = await run.execute(ByHand(run, "web-2-a", kind, "web-2"))
    assert held is not None
    assert held.operation.state is OperationState.PAUSED
    assert "has web-2-a out of traffic" in held.operation.summary
    assert "then `manor resume echo`" in held.operation.summary
    assert run.world.balancers[0].traffic["web-2-a"] is DRAIN
    run.world.now += LONG
    for program in run.world.programs.values():
        program.started_at += LONG
    run.world.balancers[0].traffic["web-2-a"] = READY
    ended = await run.killed_at([])
    assert ended.operation.state is OperationState.DONE
    assert [problem for host in run.world.hosts for problem in host_problems(run.world, host, "new")] == []


async def test_a_way_back_does_not_let_in_what_a_person_took_out_elsewhere(rollouts: InlineStore) -> None:
    run = await begin(case("back", NATURES["500s"]), rollouts)
    result = await run.execute(ByHand(run, "web-3-a", "warm", "web-1"))
    assert result is not None
    assert result.operation.state is OperationState.REVERTED
    assert run.world.balancers[0].traffic["web-3-a"] is DRAIN
    assert host_problems(run.world, "web-1", "old") == []


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Toy]:
    with InlineStore.open(tmp_path / "state", ModelClock(World(1, 1, {}))) as store:
        yield Toy(wiring_of(tmp_path), store)


async def serving(toy: Toy) -> tuple[LiveFleet, Here]:
    """Have the slot a serve as after a rollout."""
    fleet, here = LiveFleet(toy.site, "echo", {}, Path("/nowhere"), cast(Prober, None), guard_seconds=8.0), begun(toy)
    await fleet.set_traffic("echo", {A.server: READY}, here)
    await fleet.set_active("echo", "web-1", "a", here)
    return fleet, here


def state_file(toy: Toy) -> HostPath:
    return toy.host.tiers[0].node.folders.state / "echo"


async def test_a_change_tells_balancers_of_nothing_else_and_their_files_keep_what_is_out(toy: Toy) -> None:
    fleet, here = await serving(toy)
    toy.traffic[A.server] = "drain"
    await fleet.set_traffic("echo", {B.server: DRAIN}, here)
    assert toy.traffic == {A.server: "drain", B.server: "drain"}
    assert "'web-1-a', <TrafficState.DRAIN" in (await toy.runner.read([state_file(toy)]))[state_file(toy)].decode()
    rows = await read_slots(toy.store, "prod", "echo")
    assert traffic_of(toy.wiring.service("echo"), rows)[A.server] is READY, "what is meant is still remembered"


async def test_an_apply_keeps_what_is_out(toy: Toy) -> None:
    await serving(toy)
    toy.traffic[A.server] = "maint"
    await write_switch_files(toy.site, toy.site.tier("web-1", toy.key), toy.runner)
    assert "'web-1-a', <TrafficState.MAINT" in (await toy.runner.read([state_file(toy)]))[state_file(toy)].decode()


async def test_preflight_tells_where_and_how_to_end_it(toy: Toy, tmp_path: Path) -> None:
    await serving(toy)
    fleet, release = fleet_of(toy, tmp_path)
    toy.runs()
    assert await fleet.held("echo") == {}
    toy.traffic[A.server] = "drain"
    told = (await fleet.held("echo"))[A.server]
    assert told.startswith("web-1: 0-web-nginx has web-1-a out of traffic (drain), and no operation of Manor's took it out; end that with `echo ")
    assert told.endswith("toy.sock`")
    assert told in await fleet.preflight((), release)


async def test_what_our_own_drain_took_out_is_not_taken_for_a_persons(toy: Toy) -> None:
    fleet, here = await serving(toy)
    await fleet.guard(A, (), here)
    await fleet.set_traffic("echo", {A.server: DRAIN}, here)
    assert await fleet.held("echo") == {}


async def test_what_is_out_stays_out_after_a_restart_once_it_was_noted_and_only_as_long_as_it_is_out(toy: Toy) -> None:
    fleet, here = await serving(toy)
    balancing = fleet.balancing
    assert await balancing.forgetful() == [], "nobody took anything out"
    toy.traffic[A.server] = "drain"
    assert await balancing.forgetful() == [("web-1", toy.key)]
    await balancing.keep(here.token)
    assert "'web-1-a', <TrafficState.DRAIN" in (await toy.runner.read([state_file(toy)]))[state_file(toy)].decode()
    assert await balancing.forgetful() == []
    toy.traffic[A.server] = "ready"
    assert await balancing.forgetful() == [("web-1", toy.key)]
    await balancing.keep(here.token)
    assert "'web-1-a', <TrafficState.READY" in (await toy.runner.read([state_file(toy)]))[state_file(toy)].decode()


@pytest.mark.parametrize("trouble", [Unreachable("web-1: toy.sock: no such file"), ManorError("it knows no server web-1-a of echo")])
async def test_a_balancer_that_does_not_answer_or_know_the_service_is_left_as_it_is(toy: Toy, trouble: ManorError) -> None:
    fleet, _ = await serving(toy)
    toy.traffic[A.server] = "drain"
    toy.runner.reply("servers", trouble)
    balancing = replace(fleet.balancing, patience_seconds=0.0)
    assert await balancing.forgetful() == []
