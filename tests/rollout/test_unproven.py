"""A probe that was killed proves nothing: the release is not certified, and not blamed (docs/faults.md)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from manor.operations.step import Here
from manor.rollout.fleet import ProbeSummary
from manor.state.words import OperationState, Outcome
from tests.rollout.cases import case
from tests.rollout.model import ModelFleet
from tests.rollout.running import Case, InlineStore, host_problems
from tests.rollout.test_rules import carried_out, told

GAP = "it ended 3 s before the rollout, with 2 requests on their way"
SINGLETON = {"strategy": "interrupt", "min_healthy": 1.0, "longest_outage": 60.0}
CASES = [case("good"), case("interrupt", hosts=1, rules=SINGLETON, slots="a")]


@pytest.mark.parametrize("good", CASES, ids=str)
async def test_what_a_probe_did_not_see_is_not_certified(good: Case, rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ModelFleet.stop_probe

    async def killed(fleet: ModelFleet, service: str, here: Here) -> ProbeSummary:
        await whole(fleet, service, here)
        return ProbeSummary(41, 0, gap=GAP)

    monkeypatch.setattr(ModelFleet, "stop_probe", killed)
    run, result = await carried_out(good, rollouts)
    assert result.operation.state is OperationState.REVERTED
    assert [step.outcome for step in result.failed] == [Outcome.UNREACHABLE]
    why = f"echo: not measured to its end: {GAP}; 41 requests were seen; what was lost beside them nobody knows, so nothing is certified"
    assert why in told(run, result)
    assert run.world.burned_why == ""
    assert [problem for host in run.world.hosts for problem in host_problems(run.world, host, "old")] == []


async def test_a_return_needs_no_probe(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ModelFleet.stop_probe

    async def killed(fleet: ModelFleet, service: str, here: Here) -> ProbeSummary:
        await whole(fleet, service, here)
        return ProbeSummary(41, 0, gap=GAP)

    monkeypatch.setattr(ModelFleet, "stop_probe", killed)
    _, result = await carried_out(replace(case("return"), is_return=True), rollouts)
    assert (result.operation.state, list(result.failed)) == (OperationState.DONE, []), "a bad release is left, proof or no proof"


def test_a_killed_probe_is_told() -> None:
    assert str(ProbeSummary(41, 0)) == "sent 41, lost 0"
    assert str(ProbeSummary(41, 0, gap=GAP)) == f"sent 41, lost 0; not measured to its end: {GAP}"
