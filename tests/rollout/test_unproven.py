"""A probe that was killed proves nothing: the release is not certified, and not blamed (docs/faults.md)."""

from __future__ import annotations

import pytest

from manor.operations.step import Here
from manor.rollout.fleet import ProbeSummary
from manor.state.words import OperationState, Outcome
from tests.rollout.cases import case
from tests.rollout.model import ModelFleet
from tests.rollout.running import InlineStore, host_problems
from tests.rollout.test_rules import carried_out, told


async def test_what_a_killed_probe_did_not_see_is_not_certified(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ModelFleet.stop_probe

    async def killed(fleet: ModelFleet, service: str, here: Here) -> ProbeSummary:
        await whole(fleet, service, here)
        return ProbeSummary(41, 0, is_whole=False)

    monkeypatch.setattr(ModelFleet, "stop_probe", killed)
    run, result = await carried_out(case("good"), rollouts)
    assert result.operation.state is OperationState.REVERTED
    assert [step.outcome for step in result.failed] == [Outcome.UNREACHABLE]
    assert "echo: the probe was killed after 41 requests; what was lost later nobody knows, so nothing is certified" in told(run, result)
    assert run.world.burned_why == ""
    assert [problem for host in ("web-1", "web-2", "web-3") for problem in host_problems(run.world, host, "old")] == []


def test_a_killed_probe_is_told() -> None:
    assert str(ProbeSummary(41, 0)) == "sent 41, lost 0"
    assert str(ProbeSummary(41, 0, is_whole=False)) == "sent 41, lost 0; it was killed before its end"
