"""The model shows a wrong order of acts as losses; without that the proof by it would be worth nothing."""

from __future__ import annotations

import pytest

from manor.operations.step import Planned
from manor.rollout import plan
from manor.rollout.fleet import Fleet
from manor.rollout.moving import AdmitSlot, DrainSlot
from manor.rollout.slots import WarmSlot
from manor.rollout.stopping import StopSlot
from manor.state.words import OperationState
from tests.rollout import running
from tests.rollout.cases import case
from tests.rollout.running import InlineStore, Killer, begin, problems_of


async def lost_without(kind: type, rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many requests are lost in a rollout from which a kind of step was left out."""

    def broken(order: plan.RolloutOrder) -> list[Planned[Fleet]]:
        return [planned for planned in plan.plan_rollout(order) if not isinstance(planned.step, kind)]

    monkeypatch.setattr(running, "plan_rollout", broken)
    run = await begin(case("broken"), rollouts)
    await run.execute(Killer())
    return len(run.world.lost)


async def stop_anyhow(step: StopSlot, ports: Fleet, here: object) -> str:
    await ports.stop(step.ref, here)  # type: ignore[arg-type]
    return "stopped while it takes traffic"


async def test_stop_before_drain_loses_requests(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StopSlot, "act", stop_anyhow)
    assert await lost_without(DrainSlot, rollouts, monkeypatch) > 3


async def test_admit_before_warm_up_is_not_possible_unseen(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without waiting for health the checks of the balancers keep traffic away; nothing is lost, and nothing is hidden either."""
    assert await lost_without(WarmSlot, rollouts, monkeypatch) == 0


async def test_a_stop_under_traffic_is_refused_by_the_step_itself(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await lost_without(DrainSlot, rollouts, monkeypatch) == 0


@pytest.mark.parametrize("is_counted", [True, False])
async def test_a_rollout_in_the_right_order_loses_nothing_under_load(rollouts: InlineStore, is_counted: bool) -> None:
    run = await begin(case("right", balancers=2, is_counted=is_counted), rollouts)
    result = await run.execute(Killer())
    assert result is not None
    assert problems_of(run, result) == []
    assert result.operation.state is OperationState.DONE
    assert run.world.answered > 100
    assert AdmitSlot.kind in {step.kind for step in result.steps}
