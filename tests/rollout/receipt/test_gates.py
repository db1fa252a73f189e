"""Gates of a receipt: what a rollout judged, the verdict on losses, and what became of its release."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from manor.estate.model import Health, RolloutRules
from manor.observe.probe.summary import Outage
from manor.observe.window import Window
from manor.operations.planning import Result
from manor.rollout.composing import Asked, Witnessed, compose_receipt, loss_gate, timings
from manor.rollout.losses import Count
from manor.rollout.plan import RolloutOrder
from manor.rollout.receipt import Gate, Origin, ProbeColumn
from manor.state.journal import StepRow
from manor.state.operations import Operation
from manor.state.words import OperationState, Outcome

ROLLING = RolloutOrder("shop", "new", (), RolloutRules(drain_policy="cut"), Health(http="/healthz"), 30.0, 0.0)
SINGLE = replace(ROLLING, rules=RolloutRules(strategy="interrupt", longest_outage=10.0))
SEEN = ProbeColumn(("GET /healthz",), 20.0, 920, 0, 460)
LOST = replace(SEEN, lost=4)
AWAY = replace(SEEN, lost=61, outage=Outage(1.0, 12.5))
NOTHING = ProbeColumn((), 0.0, 0, 0, 0, incomplete=("not asked: the way in is not Manor's",))


def row(kind: str, outcome: Outcome = Outcome.OK, evidence: str = "", plan: int = 0) -> StepRow:
    return StepRow(
        operation="op",
        seq=1,
        plan=plan,
        stage=0,
        key="1",
        kind=kind,
        version=1,
        host="",
        payload="{}",
        text="",
        precondition="",
        postcondition="",
        compensation="",
        timeout_seconds=9.0,
        attempt=1,
        deadline=9.0,
        intent_at=1.0,
        done_at=2.0,
        outcome=outcome,
        evidence=evidence,
    )


@dataclass(frozen=True)
class Case:
    """What was journalled and seen, and the verdict."""

    name: str
    steps: tuple[StepRow, ...]
    probe: ProbeColumn
    verdict: str
    numbers: str
    order: RolloutOrder = ROLLING


JUDGED = (row("stop-probe"),)
CASES = [
    Case("nothing lost", JUDGED, SEEN, "pass", "lost 0 of 920; budget 0"),
    Case("lost", (row("stop-probe", Outcome.FAILED, "the probe lost 4"),), LOST, "fail", "lost 4 of 920; budget 0"),
    Case(
        "failing before",
        JUDGED,
        replace(LOST, lost=40, sent_before=80, lost_before=40, late=Count(40, 20)),
        "pass",
        "lost 40 of 920, all of them before anything was touched, when the service was failing already; budget 0",
    ),
    Case(
        "failing before, and mended",
        JUDGED,
        replace(LOST, lost=90, sent_before=80, lost_before=40, late=Count(40, 20), alone=Count(300, 0)),
        "not judged",
        "lost 90 of 920, 40 of them before anything was touched, when the service was failing already; budget 0; "
        "the service was failing before; since the new release serves alone 0 of 300 were lost",
    ),
    Case(
        "a return",
        JUDGED,
        replace(LOST, alone=Count(300, 0)),
        "not judged",
        "lost 4 of 920; budget 0; a return is judged by what it returns to; since that serves alone 0 of 300 were lost",
        replace(ROLLING, is_return=True),
    ),
    Case(
        "far more than before",
        (row("stop-probe", Outcome.UNREACHABLE, "far more"),),
        replace(SEEN, lost=61, sent_before=300, lost_before=1, late=Count(150, 1), alone=Count(300, 0)),
        "inconclusive",
        "lost 61 of 920, 1 of them before anything was touched; budget 0; requests were lost before too, but 60 of 320 from the first act on "
        "are far more than 1 of 300; since the new release serves alone 0 of 300 were lost",
    ),
    Case("within the budget", JUDGED, LOST, "pass", "lost 4 of 920; budget 5", replace(ROLLING, loss_budget=5)),
    Case("not measured", (row("stop-probe", Outcome.UNREACHABLE),), SEEN, "inconclusive", "lost 0 of 920; budget 0; not measured to its end"),
    Case("did not end", (row("stop-probe", Outcome.FAILED, "it did not end"),), SEEN, "error", "lost 0 of 920; budget 0; it did not end"),
    Case("turned round before", (row("stop-probe", plan=1),), SEEN, "not judged", "lost 0 of 920; budget 0; the rollout had ended before"),
    Case("given up", (row("stop-probe", Outcome.PENDING),), SEEN, "not judged", "lost 0 of 920; budget 0; the rollout had ended before"),
    Case("not probed", JUDGED, NOTHING, "not judged", "not probed; budget 0"),
    Case("outage", (row("stop-probe", Outcome.FAILED),), AWAY, "fail", "out of service for 12.50 s; 10 s allowed", SINGLE),
    Case("no outage", JUDGED, SEEN, "pass", "no outage was long enough to be measured; 10 s allowed", SINGLE),
    Case("no limit", JUDGED, AWAY, "pass", "out of service for 12.50 s; no limit declared", replace(SINGLE, rules=RolloutRules(strategy="interrupt"))),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_verdict_on_losses_has_its_numbers(case: Case) -> None:
    gate = loss_gate(case.steps, case.order, case.probe)
    assert (gate.verdict, gate.numbers) == (case.verdict, case.numbers)
    assert gate.name == ("outage" if case.order.rules.strategy == "interrupt" else "losses")


def composed(*steps: StepRow, **asked: Any) -> Any:
    operation = Operation(
        id="op",
        verb="ship",
        environment="prod",
        service="shop",
        actor="local:ann",
        arguments="",
        estate_digest="",
        plan_hash="",
        token=1,
        state=OperationState.REVERTED,
        phase="",
        summary="",
        plan=1,
        deadline=None,
        created_at=0.0,
        started_at=0.0,
        ended_at=9.0,
    )
    return compose_receipt(Result(operation, steps), ROLLING, Witnessed(SEEN, None, "unread", "counted", "haproxy"), Origin("a"), Asked(**asked))


@pytest.mark.parametrize(("baseline", "told"), [(Window(10.0, 21.304), [11.3]), (None, [])], ids=["measured", "none"])
def test_it_says_how_long_the_baseline_was_and_not_how_long_it_was_to_be(baseline: Window | None, told: list[float]) -> None:
    found = [timing.seconds for timing in timings(ROLLING, baseline) if timing.name == "probe_baseline"]
    assert found == told


def test_the_environments_gates_come_first_then_the_rollouts_own() -> None:
    tests = Gate("tests", "pass", "12 tests, 0 failed, 0 skipped; by run 7")
    receipt = composed(row("preflight"), row("bake"), row("stop-probe"), gates=(tests,))
    assert [gate.name for gate in receipt.gates] == ["tests", "preflight", "bake", "losses"]
    assert receipt.gates[0] == tests


def test_it_says_what_became_of_the_release_and_of_work_that_is_not_finished() -> None:
    burned = composed(row("warm", Outcome.FAILED, "500"), row("burn", evidence="web-1: 500", plan=1), again="once more")
    assert (burned.burned, burned.spared, burned.drain_policy) == ("web-1: 500", "", "cut")
    assert [override.why for override in burned.overrides] == ["once more"]
    spared = composed(row("warm", Outcome.FAILED, "500"), row("spare", evidence="a tier was started again", plan=1))
    assert (spared.burned, spared.spared) == ("", "a tier was started again")
    assert composed(row("burn", Outcome.FAILED, "x", plan=1)).burned == ""
