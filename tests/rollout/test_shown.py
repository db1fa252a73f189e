"""What balancers were told is read back before anything rests on it (docs/rollout.md, the order)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from manor.estate.topology import TrafficState
from manor.operations.step import Here
from manor.state.words import OperationState
from tests.rollout.cases import SINGLETON, case
from tests.rollout.model import ModelFleet
from tests.rollout.running import InlineStore
from tests.rollout.test_rules import carried_out


async def test_a_program_is_not_stopped_before_every_balancer_shows_its_slot_out(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A balancer that takes `maint` and goes on as before would send requests to what is stopped."""
    whole = ModelFleet.set_traffic

    async def deaf(fleet: ModelFleet, service: str, changes: Mapping[str, TrafficState], here: Here) -> None:
        await whole(fleet, service, changes, here)
        if changes.get("web-1-a") is TrafficState.MAINT:
            fleet.world.balancers[-1].traffic["web-1-a"] = TrafficState.DRAIN

    monkeypatch.setattr(ModelFleet, "set_traffic", deaf)
    run, result = await carried_out(case("deaf", hosts=1, balancers=2), rollouts)
    assert result.operation.state is OperationState.REVERTED
    assert "web-1: echo/a was to be out of every balancer, and one still has it; it is not stopped" in result.operation.summary
    assert "stop web-1-a" not in run.world.acts
    assert not run.world.lost


@pytest.mark.parametrize(("on", "word"), [(True, "shown"), (False, "taken away")])
async def test_the_maintenance_page_is_read_back(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch, on: bool, word: str) -> None:
    whole, told = ModelFleet.set_maintenance, []

    async def deaf_once(fleet: ModelFleet, service: str, here: Here, *, on: bool) -> None:
        told.append(on)
        if told.count(wanted) > 1 or on is not wanted:
            await whole(fleet, service, here, on=on)

    wanted = on
    monkeypatch.setattr(ModelFleet, "set_maintenance", deaf_once)
    run, result = await carried_out(case("page", hosts=1, rules=SINGLETON, slots="a"), rollouts)
    assert result.operation.state is OperationState.REVERTED
    assert f"edge-1: the maintenance page of echo was to be {word} and is not" in result.operation.summary
    assert not run.world.is_maintained
    assert not any(act.startswith("stop") for act in run.world.acts) or not on, "nothing is taken away before its page is shown"
