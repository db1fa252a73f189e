"""Whether a rollout failed because of its release, judged by evidence (docs/rollout.md, the way back).

Invariant: a release is spared only when a tier was disturbed meanwhile *and* the release's own check passes at its own port; anything else burns it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from manor.errors import CommandFailed, Unreachable
from manor.operations.step import Step, StepKinds
from manor.rollout.fleet import Fleet, SlotRef
from manor.rollout.framing import SpareRelease, StartProbe, StopProbe
from manor.rollout.looking import is_any_replacement_dead
from manor.rollout.moving import DrainSlot
from manor.rollout.plan import RolloutOrder, slot_for
from manor.rollout.slots import SlotStep
from manor.rollout.stopping import StopSlot
from manor.rollout.story import failure_of
from manor.rollout.wayback import Failure
from manor.state.journal import StepRow

TRIES = 3
BETWEEN_SECONDS = 1.0
"""A program that was disturbed itself has so long to answer again."""


async def blame(order: RolloutOrder, rows: Iterable[StepRow], ports: Fleet, kinds: StepKinds[Fleet]) -> Failure:
    """Return what turned a rollout round, and whether its release is to blame. What was judged once stays so."""
    steps = tuple(rows)
    failure = failure_of(order, steps)
    if any(row.plan for row in steps):
        spared = next((row for row in steps if row.kind == SpareRelease.kind), None)
        return failure if spared is None else spare(failure, getattr(kinds.decode(spared), "why", ""))
    unstopped = [step for row in failed(steps) if isinstance(step := kinds.decode(row), StopSlot)]
    failure = replace(failure, is_of_release=failure.is_of_release or (bool(unstopped) and await is_any_replacement_dead(ports, unstopped)))
    if not failure.is_of_release:
        return failure
    try:
        disturbed = await ports.disturbed(disturbed_since(steps, ports.now()))
        innocent = bool(disturbed) and all([await answers(ports, ref) for ref in suspects(order, steps, kinds)])
    except (Unreachable, CommandFailed):
        return failure
    return spare(failure, "; ".join(disturbed)) if innocent else failure


def spare(failure: Failure, why: str) -> Failure:
    """Return the same failure, not blamed on the release."""
    return replace(failure, is_of_release=False, spared=why)


def failed(rows: Iterable[StepRow]) -> list[StepRow]:
    """Return the steps forward that failed."""
    return [row for row in rows if row.is_bad and row.plan == 0]


def disturbed_since(rows: Iterable[StepRow], now: float) -> float:
    """Return when what failed was begun; for what the probe saw, when it was begun."""
    steps = tuple(rows)
    bad = failed(steps)
    begun = [*bad, *(row for row in steps if row.kind == StartProbe.kind and any(one.kind == StopProbe.kind for one in bad))]
    return min((row.intent_at for row in begun if row.intent_at is not None), default=now)


def suspects(order: RolloutOrder, rows: Iterable[StepRow], kinds: StepKinds[Fleet]) -> list[SlotRef]:
    """Return the slots with the release that what failed was about; all of them, where it was about none alone."""
    found = [ref for row in failed(rows) for ref in concerned(kinds.decode(row))]
    return found or [SlotRef(order.service, now.host, slot_for(order, now)) for now in order.instances]


def concerned(step: Step[Fleet]) -> list[SlotRef]:
    """Return the slots with the new release that a step is about."""
    drain = step.drain if isinstance(step, StopSlot) else step
    if isinstance(drain, DrainSlot):
        return [SlotRef(drain.service, host, slot) for host, slot in drain.upheld]
    return [step.ref] if isinstance(step, SlotStep) else []


async def answers(ports: Fleet, ref: SlotRef) -> bool:
    """Tell whether a slot's program passes its own check at its own port, past every tier."""
    for attempt in range(TRIES):
        if attempt:
            await ports.sleep(BETWEEN_SECONDS)
        if (await ports.check_program(ref)).passed:
            return True
    return False
