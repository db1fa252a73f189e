"""A host that can't be brought back stays out of traffic until it is at the certified release (docs/rollout.md, hosts that were not brought back)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from manor.estate.model import Health
from manor.estate.topology import TrafficState
from manor.operations.chaos import Point
from manor.operations.planning import Result, create
from manor.rollout.plan import InstanceNow, RolloutOrder, batches, others_in_turn, plan_rollout
from manor.rollout.story import told_end
from manor.state import journal
from manor.state.operations import NewOperation
from manor.state.words import OperationState, Outcome
from manor.workflows.rolling import ROLLOUT_KINDS
from tests.rollout.cases import case
from tests.rollout.running import InlineStore, Killer, Run, begin, order_of, problems_of, quick

KEPT_OUT = TrafficState.MAINT


class Loser(Killer):
    """A host goes away right before a step of a kind on it."""

    def __init__(self, run: Run, kind: str, host: str) -> None:
        super().__init__()
        self.run, self.kind, self.host = run, kind, host

    def __call__(self, seq: int, kind: str, point: Point) -> None:
        super().__call__(seq, kind, point)
        step = self.run.store.read_now(journal.get, self.run.operation, seq)
        if point is Point.BEFORE_INTENT and (kind, step.host) == (self.kind, self.host):
            self.run.world.lost_hosts.add(self.host)


@pytest.mark.parametrize("kind", ["warm", "admit", "drain", "stop"])
async def test_what_comes_back_gets_no_traffic_before_it_is_brought_to_the_certified_release(rollouts: InlineStore, kind: str) -> None:
    run = await begin(case("lost", hosts=3), rollouts)
    result = await run.execute(Loser(run, kind, "web-2"))
    assert result is not None
    assert result.operation.state is OperationState.FAILED, result.operation.summary
    assert result.hosts["web-2"] in {Outcome.FAILED, Outcome.UNREACHABLE}
    assert "`manor resume echo --only failed` brings what was not brought back to old" in told_end(run.order, "prod", OperationState.FAILED, result.steps, "op")
    world = run.world
    world.lost_hosts.clear()
    world.advance(3.0)
    new = [one.traffic["web-2-b"] for one in world.balancers]
    assert new == [KEPT_OUT] * len(new), "the release that was turned round gets nothing"
    again = await brought_back(run)
    world.advance(3.0)
    assert problems_of(again, await ended(again)) == []


async def brought_back(run: Run) -> Run:
    """Plan the certified release for the host that was lost alone, as `manor resume --only failed` does."""
    whole = await order_of(run.case, run.world, run.store)
    order: RolloutOrder = replace(whole, release="old", instances=tuple(now for now in whole.instances if now.host == "web-2"), beside=2, is_return=True)
    assert order.others_needed == whole.others_needed
    environment = run.lease.partition("/")[0]
    operation = await create(run.store, NewOperation("rollback", environment, "echo"), plan_rollout(order), ROLLOUT_KINDS)
    run.world.acts.clear()
    run.world.touched_hosts.clear()
    asked = replace(run.case, release="old")
    return replace(run, case=asked, order=order, operation=operation.id)


async def ended(run: Run) -> Result:
    result = await run.execute(Killer())
    assert result is not None
    assert run.world.touched_hosts == {"web-2"}
    return result


def test_hosts_that_are_left_as_they_are_count() -> None:
    one = (InstanceNow("web-2", "a", "old"), InstanceNow("web-3", "a", "old"))
    order = RolloutOrder("echo", "old", one, quick(min_healthy=0.5), Health(http="/"), 1.0, 0.0, beside=4)
    assert (order.others_needed, others_in_turn(order)) == (3, 3)
    assert [[now.host for now in batch] for batch in batches(order)] == [["web-2"], ["web-3"]]


@pytest.mark.parametrize(("min_healthy", "state"), [(0.5, TrafficState.MAINT), (1.0, TrafficState.READY)])
async def test_what_failed_and_serves_goes_only_when_enough_others_serve(rollouts: InlineStore, min_healthy: float, state: TrafficState) -> None:
    """The host's balancer-side is well, but nothing can be done on the host itself."""
    run = await begin(case("refusing", hosts=3, rules={"min_healthy": min_healthy}), rollouts)
    result = await run.execute(Refuser(run, "stop", "web-2"))
    assert result is not None
    assert result.operation.state is OperationState.FAILED, result.operation.summary
    assert [one.traffic["web-2-b"] for one in run.world.balancers] == [state]
    assert not run.world.lost


class Refuser(Loser):
    """A host on which nothing is carried out any more from a step on, though what runs there serves."""

    def __call__(self, seq: int, kind: str, point: Point) -> None:
        super().__call__(seq, kind, point)
        self.run.world.refusing, self.run.world.lost_hosts = self.run.world.refusing | self.run.world.lost_hosts, set()
