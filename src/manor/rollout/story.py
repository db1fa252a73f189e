"""How a rollout ended, in one sentence for people (docs/rollout.md, messages).

Invariant: pure; every text that says why comes from the step that failed.
"""

from __future__ import annotations

from collections.abc import Iterable

from manor.rollout.framing import Bake, Conclude, SpareRelease, StopProbe
from manor.rollout.moving import AdmitSlot, DrainSlot
from manor.rollout.plan import RolloutOrder
from manor.rollout.slots import StartSlot, WarmSlot
from manor.rollout.wayback import Failure, serves_after
from manor.state.journal import StepRow
from manor.state.words import OperationState, Outcome

OF_RELEASE = frozenset({StartSlot.kind, WarmSlot.kind, AdmitSlot.kind, Bake.kind, StopProbe.kind})
UNKNOWN = "no step says why"


def failure_of(order: RolloutOrder, rows: Iterable[StepRow]) -> Failure:
    """Return what turned a rollout round, from the steps of its forward plan."""
    bad = [row for row in rows if row.is_bad and row.plan == 0]
    kinds = OF_RELEASE if order.rules.drain_policy == "abort" else OF_RELEASE | {DrainSlot.kind}
    mine = [row for row in bad if row.kind in kinds and row.outcome is Outcome.FAILED]
    return Failure(next((row.evidence for row in (*mine, *bad)), UNKNOWN), bool(mine) and not any(row.outcome is Outcome.UNREACHABLE for row in bad))


def told_end(order: RolloutOrder, environment: str, state: OperationState, rows: Iterable[StepRow], operation: str) -> str:
    """Return e.g. `echo 3f16… was turned round in prod: web-1: /healthz answers 500, not 200; 22ed… serves as before; receipt …`."""
    steps = tuple(rows)
    why, excuse = failure_of(order, steps).why, next((row.evidence for row in steps if row.kind == SpareRelease.kind), "")
    what = f"{order.service} {order.release}"
    if why == UNKNOWN and excuse:  # nothing failed: somebody wished it back
        why, excuse = excuse, ""
    spared = f"; that is not held against the release: {excuse}" if excuse else ""
    if state is OperationState.REVERTED:
        seen = next((row.evidence.removeprefix(f"{order.service}: ") for row in reversed(steps) if row.kind == Conclude.kind), "")
        told = seen if seen and serves_after(order) else left(order)
        return f"{what} was turned round in {environment}: {why}{spared}; {told}; receipt {operation}"
    second = next((row for row in reversed(steps) if row.is_bad and row.plan), None)
    back = (
        f"and the way back failed: {second.host + ': ' if second and second.host not in second.evidence else ''}{second.evidence}"
        if second
        else "and there was no way back"
    )
    return f"{what} failed in {environment}: {why}; {back}; `manor status {environment}` shows what serves{again(order)}; receipt {operation}"


def again(order: RolloutOrder) -> str:
    """Say how hosts that were not brought back come to the certified release."""
    return f", `manor resume {order.service} --only failed` brings what was not brought back to {order.certified}" if order.certified else ""


def left(order: RolloutOrder) -> str:
    """Say what serves after the way back."""
    serves = serves_after(order)
    return f"{serves} serves as before" if serves else f"nothing of {order.service} was certified here yet, so its route answers 503 with our page"
