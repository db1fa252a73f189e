"""Whether a rollout failed because of its release, judged by evidence (docs/rollout.md, the way back).

Invariant: a release is spared only when its host can't be reached, or when something else went wrong meanwhile *and* its own check passes at its own
port; anything else burns it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import replace

from manor.errors import FencedOff, ManorError, Unreachable
from manor.integrations.supervisors.base import ProgramStatus
from manor.operations.attempt import PASSED
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
COMING_SECONDS = 5.0
"""A tier that was started again so shortly before a step was begun may not have been up in it: its wrapper waits a second, and it reads its files."""
TWICE = 2
"""So often a step was begun at least whose executor died in it."""
GONE_SECONDS = 5.0
"""So much of a step's time is gone at least where that is why it failed; who takes over at once loses less."""
LATE_SECONDS = 10.0
"""What ended so long after its deadline was not carried out in that time: a step that is at work is ended by its deadline."""


async def blame(order: RolloutOrder, rows: Iterable[StepRow], ports: Fleet, kinds: StepKinds[Fleet], deadline: float | None = None) -> Failure:
    """Return what turned a rollout round that had to end by `deadline`, and whether its release is to blame. What was judged once stays so."""
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
        idle = await unstarted(steps, kinds, ports)
        excuse = await excuse_of(suspects(order, steps, kinds), idle, steps, absences(steps, deadline, kinds), ports)
    except ManorError as error:
        if isinstance(error, FencedOff):
            raise
        return failure
    return spare(failure, excuse) if excuse else failure


async def excuse_of(accused: Iterable[SlotRef], idle: Collection[SlotRef], steps: Iterable[StepRow], absent: Iterable[str], ports: Fleet) -> str:
    """Return what else the failure can have come from; empty: the release fails its own check somewhere, or nothing else was wrong.

    It is not asked for in the slots that are idle. Raises ManorError if that can't be found out.
    """
    reached = {ref: await is_reached(ports, ref) for ref in accused}
    lost = dict.fromkeys(ref.host for ref, answered in reached.items() if not answered)
    otherwise = [f"{', '.join(lost)} can't be reached, so nobody can tell how it does there"] if lost else []
    otherwise += [] if lost else await ports.disturbed(disturbed_since(steps, ports.now()) - COMING_SECONDS)
    otherwise += absent
    innocent = bool(otherwise) and all([await answers(ports, ref) for ref, answered in reached.items() if answered and ref not in idle])
    return "; ".join(otherwise) if innocent else ""


def absences(rows: Iterable[StepRow], deadline: float | None, kinds: StepKinds[Fleet]) -> list[str]:
    """Return for how long nobody carried the rollout out, where that is why a step failed; one that began anew had its own full time."""
    last = math.inf if deadline is None else deadline
    bad = failed(rows)
    ends = [(row.done_at, row.deadline or last, math.inf if kinds.decode(row).begins_anew else last) for row in bad]
    longest = max((done - min(own, whole) for done, own, whole in ends if done is not None), default=0.0)
    if longest > LATE_SECONDS or any(row.evidence.startswith(PASSED) for row in bad):
        return [f"nobody carried the rollout out until {longest:.0f} s after a deadline"]
    return [short for row in bad if (short := cut_short(row, kinds.decode(row)))][:1]


async def unstarted(rows: Iterable[StepRow], kinds: StepKinds[Fleet], ports: Fleet) -> frozenset[SlotRef]:
    """Return the slots in which no program is, because no time was left before it was to be started. Raises ManorError if one can't be asked."""
    steps = [kinds.decode(row) for row in failed(rows) if row.evidence.startswith(PASSED)]
    early = [step.ref for step in steps if isinstance(step, SlotStep) and step.is_before_program]
    return frozenset([ref for ref in early if await is_reached(ports, ref) and await is_stopped(ports, ref)])


async def is_stopped(ports: Fleet, ref: SlotRef) -> bool:
    """Tell whether a slot has a program that does not run, and did not fail either."""
    view = await ports.program(ref)
    return view is not None and view.status is ProgramStatus.STOPPED


def cut_short(row: StepRow, step: Step[Fleet]) -> str:
    """Return in words that more of the time to wait for a program had passed before somebody went on with it than it then took to fail.

    Empty: it had not, or it waits for none, as what judges does: that takes no time.
    """
    if row.attempt < TWICE or row.intent_at is None or row.done_at is None or row.deadline is None:
        return ""
    gone, took = row.intent_at - (row.deadline - row.timeout_seconds), row.done_at - row.intent_at
    is_short = isinstance(step, SlotStep) and took < step.waits_seconds
    return f"nobody went on with it for up to {gone:.1f} s of its time" if is_short and gone > max(took, GONE_SECONDS) else ""


async def is_reached(ports: Fleet, ref: SlotRef) -> bool:
    """Tell whether the host of a slot answers at all; one that answers with an error does."""
    try:
        await ports.program(ref)
    except Unreachable:
        return False
    except FencedOff:
        raise
    except ManorError:
        return True
    return True


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
