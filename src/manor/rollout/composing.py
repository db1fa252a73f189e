"""Composes the receipt of an ended rollout from what was read: journal, probe, logs.

Invariant: pure; the same for a rollout that just ended and for one that was recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from manor.observe.window import Window
from manor.operations.planning import Result
from manor.operations.step import decode_evidence
from manor.rollout.framing import Bake, Preflight
from manor.rollout.moving import AdmitSlot, Drained, DrainSlot
from manor.rollout.plan import RolloutOrder, baseline_seconds
from manor.rollout.receipt import Drain, EdgeColumn, Gate, HostEnd, Moment, Origin, Override, ProbeColumn, Receipt, Switch, Timing
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


def compose_receipt(result: Result, order: RolloutOrder, seen: Witnessed, origin: Origin, again: str = "") -> Receipt:
    """Return the receipt; `again` is why a release that had failed here was rolled out once more."""
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
        longest_outage=order.rules.longest_outage,
        origin=origin,
        timeline=timeline(begun),
        drains=drains(begun),
        gates=gates(begun),
        overrides=overrides(operation, again),
        timings=timings(order),
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


def timings(order: RolloutOrder) -> tuple[Timing, ...]:
    """Return the waiting times that were in force."""
    rules, baseline = order.rules, baseline_seconds(order)
    return (
        *([Timing("probe_baseline", baseline)] if baseline else []),
        Timing("min_healthy_time", order.min_healthy_seconds),
        Timing("bake", order.bake_seconds),
        Timing("drain_timeout", order.drain_seconds),
        Timing("settle", rules.settle),
    )
