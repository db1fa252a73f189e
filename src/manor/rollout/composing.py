"""Composes the receipt of an ended rollout from what was read: journal, probe, logs.

Invariant: pure; the same for a rollout that just ended and for one that was recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from manor.observe.window import Window
from manor.operations.planning import Result
from manor.operations.step import decode_evidence
from manor.rollout.framing import Bake, BurnRelease, Preflight, SpareRelease, StopProbe
from manor.rollout.moving import AdmitSlot, Drained, DrainSlot
from manor.rollout.plan import RolloutOrder
from manor.rollout.receipt import Drain, EdgeColumn, Gate, HostEnd, Moment, Origin, Override, ProbeColumn, Receipt, Switch, Timing, within_budget
from manor.state.journal import StepRow
from manor.state.operations import Operation
from manor.state.words import OperationState, Outcome

ENDS = {
    OperationState.DONE: "certified",
    OperationState.REVERTED: "rolled_back",
    OperationState.FAILED: "not restored",
    OperationState.ABANDONED: "abandoned",
}
JUDGED = frozenset({Preflight.kind, Bake.kind})
LOSSES, OUTAGE = "losses", "outage"
"""Names of the gate that the probe's count decides."""
BAD = frozenset({Outcome.FAILED, Outcome.UNREACHABLE})
AGAIN = "a release that had failed here before, once more"


@dataclass(frozen=True)
class Witnessed:
    """What was seen of a rollout from outside the journal."""

    probe: ProbeColumn
    edge: EdgeColumn | None
    edge_missing: str
    switch: Switch
    switch_product: str


@dataclass(frozen=True)
class Asked:
    """What was decided before the first step."""

    again: str = ""
    """Why a release that had failed here was rolled out once more; empty: it had not."""
    gates: tuple[Gate, ...] = ()
    """The environment's own, as they stood when the release entered."""


def compose_receipt(result: Result, order: RolloutOrder, seen: Witnessed, origin: Origin, asked: Asked = Asked()) -> Receipt:
    """Return the receipt."""
    operation, begun = result.operation, begun_steps(result.steps)
    return Receipt(
        operation=operation.id,
        service=order.service,
        environment=operation.environment,
        release=order.release,
        previous=next((now.release for now in order.instances if now.release), ""),
        strategy=order.rules.strategy,
        state=ENDS[operation.state],
        switch=seen.switch,
        switch_product=seen.switch_product,
        window=window_of(operation, begun, operation.ended_at or operation.created_at),
        probe=seen.probe,
        edge=seen.edge,
        edge_missing=seen.edge_missing,
        loss_budget=order.loss_budget,
        is_return=order.is_return,
        longest_outage=order.rules.longest_outage,
        drain_policy=order.rules.drain_policy,
        burned=evidence_of(BurnRelease.kind, begun),
        spared=evidence_of(SpareRelease.kind, begun),
        origin=origin,
        timeline=timeline(begun),
        drains=drains(begun),
        gates=(*asked.gates, *gates(begun), loss_gate(begun, order, seen.probe)),
        overrides=overrides(operation, asked.again),
        timings=timings(order, seen.probe.baseline),
        hosts=host_ends(result),
    )


def begun_steps(steps: Iterable[StepRow]) -> tuple[StepRow, ...]:
    """Return the steps that have an intent."""
    return tuple(row for row in steps if row.intent_at is not None)


def window_of(operation: Operation, begun: Sequence[StepRow], now: float) -> Window:
    """Return from when to when a rollout lasted; one that did nothing has no length."""
    if not begun:
        return Window(operation.created_at, operation.created_at)
    return Window(begun[0].intent_at or operation.created_at, (operation.ended_at or now) + 1e-3)


def overrides(operation: Operation, again: str) -> tuple[Override, ...]:
    """Return the rules that a person set aside for the rollout."""
    return (Override(operation.actor, AGAIN, again),) if again else ()


def host_ends(result: Result) -> tuple[HostEnd, ...]:
    """Return how each host came off, with the reason of its last step that failed."""
    why = {step.host: step.evidence for step in result.failed}
    return tuple(HostEnd(host, outcome.value, why.get(host, "") if outcome in BAD else "") for host, outcome in result.hosts.items())


def timeline(begun: Sequence[StepRow]) -> tuple[Moment, ...]:
    """Return what was done when, step by step; a batch begins with each admission wave."""
    batches = {stage: number for number, stage in enumerate(sorted({row.stage for row in begun if row.kind == AdmitSlot.kind and row.plan == 0}), 1)}
    return tuple(moment_of(row, batches) for row in sorted(begun, key=lambda row: (row.done_at or 0.0, row.seq)))


def moment_of(row: StepRow, batches: dict[int, int]) -> Moment:
    """Return one line of the timeline."""
    word = "" if row.outcome is Outcome.OK else f" · {row.outcome}"
    back = "on the way back: " if row.plan else ""
    return Moment(row.done_at or row.intent_at or 0.0, row.host, f"{back}{row.kind} {row.text}{word}", batch_of(row, batches))


def batch_of(row: StepRow, batches: dict[int, int]) -> int | None:
    """Return the batch that a step belongs to: those of an instance lie around its admission."""
    if row.plan or not row.host:
        return None
    later = [number for stage, number in batches.items() if stage >= row.stage - 2]
    return min(later) if later else None


def drains(begun: Sequence[StepRow]) -> tuple[Drain, ...]:
    """Return how each slot was emptied."""
    found = []
    for row in begun:
        if row.kind == DrainSlot.kind and row.outcome is Outcome.OK and row.evidence:
            drained = decode_evidence(row, Drained)
            slot = f"{row.host} {row.text.split(' ')[0]}"
            found.append(Drain(slot, drained.seconds, drained.in_flight_at_start, drained.left, drained.was_cut, drained.unguarded, drained.websockets))
    return tuple(found)


def gates(begun: Sequence[StepRow]) -> tuple[Gate, ...]:
    """Return the conditions that were judged within the rollout."""
    return tuple(Gate(row.kind, "pass" if row.outcome is Outcome.OK else "fail", row.evidence) for row in begun if row.kind in JUDGED)


def loss_gate(begun: Sequence[StepRow], order: RolloutOrder, probe: ProbeColumn) -> Gate:
    """Return the verdict on what was lost, as the rollout judged it, with what was seen and what was allowed."""
    name = OUTAGE if order.rules.strategy == "interrupt" else LOSSES
    row = next((row for row in begun if row.kind == StopProbe.kind and row.plan == 0), None)
    numbers = f"{seen_text(order, probe)}; {allowed_text(order)}"
    if row is None or row.outcome in (Outcome.PENDING, Outcome.SKIPPED):
        return Gate(name, "not judged", f"{numbers}; the rollout had ended before")
    if row.outcome is Outcome.OK:
        return passed_gate(name, numbers, order, probe)
    losses = replace(probe.all_losses, is_return=order.is_return)
    if row.outcome is Outcome.UNREACHABLE:
        is_unclear = probe.is_whole and name == LOSSES and losses.verdict(order.loss_budget) == "inconclusive"
        return Gate(name, "inconclusive", f"{numbers}; {losses.why if is_unclear else 'not measured to its end'}")
    is_within = within_budget(probe, losses, order.rules.strategy, order.loss_budget, order.rules.longest_outage)
    return Gate(name, "error", f"{numbers}; {row.evidence}") if is_within else Gate(name, "fail", numbers)


def passed_gate(name: str, numbers: str, order: RolloutOrder, probe: ProbeColumn) -> Gate:
    """Return the verdict of a rollout that went on: nothing too much was lost, or nothing is known of it, or it is not judged."""
    if not probe.has_evidence:
        return Gate(name, "not judged", numbers)
    losses = replace(probe.all_losses, is_return=order.is_return)
    if name == LOSSES and losses.verdict(order.loss_budget) == "not judged":
        return Gate(name, "not judged", f"{numbers}; {losses.why}")
    if not probe.is_whole:
        return Gate(name, "not judged", f"{numbers}; not measured to its end")
    return Gate(name, "pass", numbers)


def seen_text(order: RolloutOrder, probe: ProbeColumn) -> str:
    """Return what the probe saw of what the gate is about."""
    if not probe.has_evidence:
        return "not probed"
    if order.rules.strategy != "interrupt":
        return str(probe.all_losses)
    return f"out of service for {probe.outage.seconds:.2f} s" if probe.outage else "no outage was long enough to be measured"


def allowed_text(order: RolloutOrder) -> str:
    """Return what was allowed."""
    longest = order.rules.longest_outage
    if order.rules.strategy != "interrupt":
        return f"budget {order.loss_budget:,}"
    return "no limit declared" if longest is None else f"{longest:g} s allowed"


def evidence_of(kind: str, begun: Sequence[StepRow]) -> str:
    """Return what a step of a kind says, if there was one that did its work."""
    return next((row.evidence for row in begun if row.kind == kind and row.outcome is Outcome.OK), "")


def timings(order: RolloutOrder, baseline: Window | None) -> tuple[Timing, ...]:
    """Return the waiting times that were in force, and how long the baseline was."""
    rules = order.rules
    return (
        *([Timing("probe_baseline", round(baseline.seconds, 2))] if baseline else []),
        Timing("min_healthy_time", order.min_healthy_seconds),
        Timing("bake", order.bake_seconds),
        Timing("drain_timeout", order.drain_seconds),
        Timing("settle", rules.settle),
    )
