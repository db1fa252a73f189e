"""One step: observed if it was begun before, then intent, act, done.

Invariant: an act that may have happened is never repeated without a look at the real thing.
Invariant: only `Exception`s are handled, so a kill in a test writes as little as a kill in life.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Generic

from manor.errors import FencedOff, ManorError, Paused, Unreachable
from manor.operations.chaos import Chaos, Point
from manor.operations.events import Event, Listener, What
from manor.operations.step import Condition, Here, Holds, PortsT, Step, StepKinds, encode_evidence
from manor.state import journal, leases, operations
from manor.state.journal import StepRow
from manor.state.leases import Lease
from manor.state.operations import Operation
from manor.state.store import Store
from manor.state.words import JournalEvent, Outcome

OBSERVE_SECONDS = 60.0
NOT_DONE = "not done: "
"""How the evidence of a step begins that was left out."""
PASSED = "its deadline passed "
"""How the evidence of a step begins for which no time was left."""
TRACE_LINES = 12


@dataclass
class Attempts(Generic[PortsT]):
    """Carries out steps of one operation under one lease."""

    store: Store
    operation: Operation
    kinds: StepKinds[PortsT]
    ports: PortsT
    lease: Lease
    tell: Listener
    chaos: Chaos

    async def carry_out(self, row: StepRow) -> StepRow:
        """Bring a pending step to its end, and return it. Raises FencedOff, Paused with a diagnosis, ManorError if the store fails."""
        step = self.kinds.decode(row)
        if row.attempt:
            ended = await self._recover(step, row)
            if ended:
                return ended
        return await self._begin(step, row)

    async def settle(self, row: StepRow, why: str) -> StepRow:
        """Bring an open step of a plan that is given up to an end without doing it: done if it is, else taken back and skipped, else failed."""
        step = self.kinds.decode(row)
        try:
            ended = await self._recover(step, row)
        except Paused as paused:
            return await self._end(row, Outcome.FAILED, str(paused), JournalEvent.FAILED)
        return ended or await self._end(row, Outcome.SKIPPED, f"{NOT_DONE}{why}", JournalEvent.SKIPPED)

    async def _begin(self, step: Step[PortsT], row: StepRow) -> StepRow:
        deadline, now = self._deadline(step, row), self.store.clock.now()
        if deadline <= now:
            return await self._end(row, Outcome.FAILED, f"{PASSED}{now - deadline:.0f} s ago", JournalEvent.FAILED)
        self.chaos(row.seq, row.kind, Point.BEFORE_INTENT)
        begun = await self._intend(step, row, deadline, now)
        self._tell(What.INTENT, begun, begun.text)
        self.chaos(row.seq, row.kind, Point.AFTER_INTENT)
        return await self._act(step, begun, self._here(begun, deadline))

    async def _act(self, step: Step[PortsT], row: StepRow, here: Here) -> StepRow:
        try:
            async with self.store.clock.timeout(here.deadline - self.store.clock.now()):
                shown = await step.act(self.ports, here)
                evidence = encode_evidence(shown)
        except (FencedOff, Paused):
            raise
        except Exception as error:  # noqa: BLE001 -- journalled: a fault of ours must lead to a revert too, not to a half-done host
            return await self._failed(step, row, here, error)
        self.chaos(row.seq, row.kind, Point.AFTER_ACT)
        ended = await self._end(row, Outcome.OK, evidence, JournalEvent.DONE, told=str(shown))
        self.chaos(row.seq, row.kind, Point.AFTER_DONE)
        return ended

    async def _failed(self, step: Step[PortsT], row: StepRow, here: Here, error: Exception) -> StepRow:
        if isinstance(error, (Unreachable, TimeoutError)):
            holds = await self._look(step, here)
            if isinstance(holds, Holds) and holds.condition is Condition.POST:
                return await self._end(row, Outcome.OK, holds.detail or f"holds, although: {told(error)}", JournalEvent.RECOVERED)
        outcome = Outcome.UNREACHABLE if isinstance(error, Unreachable) else Outcome.FAILED
        return await self._end(row, outcome, told(error), JournalEvent.FAILED)

    async def _recover(self, step: Step[PortsT], row: StepRow) -> StepRow | None:
        """Decide about a step that was begun before: its end, or None when it is to be done (again). Raises Paused."""
        here = self._here(row, self.store.clock.now() + row.timeout_seconds)
        holds = await self._look(step, here)
        if isinstance(holds, Holds) and holds.condition is Condition.NEITHER:
            holds = await self._compensate(step, row, here, holds)
        if not isinstance(holds, Holds):
            outcome = Outcome.UNREACHABLE if isinstance(holds, Unreachable) else Outcome.FAILED
            return await self._end(row, outcome, f"it was begun before, and can't be observed: {told(holds)}", JournalEvent.FAILED)
        if holds.condition is Condition.POST:
            return await self._end(row, Outcome.OK, holds.detail, JournalEvent.RECOVERED)
        return None

    async def _compensate(self, step: Step[PortsT], row: StepRow, here: Here, found: Holds) -> Holds | Exception:
        """Take back what was half done, and look again. Raises Paused if this kind can't, or if it did not help."""
        await self.store.write(leases.renew, self.lease.name, self.lease.token, now=self.store.clock.now())
        try:
            async with self.store.clock.timeout(row.timeout_seconds):
                how = await step.compensate(self.ports, here)
        except (ManorError, TimeoutError) as error:
            raise Paused(diagnosis(row, found, f"taking it back failed: {told(error)}")) from error
        if how is None:
            raise Paused(diagnosis(row, found, "this kind of step can't be taken back"))
        self.chaos(row.seq, row.kind, Point.AFTER_COMPENSATION)
        await self.store.write(journal.compensated, row.operation, row.seq, self.lease.token, how, at=self.store.clock.now())
        self._tell(What.COMPENSATED, row, how)
        again = await self._look(step, here)
        if isinstance(again, Holds) and again.condition is Condition.NEITHER:
            raise Paused(diagnosis(row, again, f"taking it back ({how}) did not help"))
        return again

    async def _look(self, step: Step[PortsT], here: Here) -> Holds | Exception:
        """Observe, bounded; return why it could not be done, if so."""
        try:
            async with self.store.clock.timeout(OBSERVE_SECONDS):
                return await step.observe(self.ports, here)
        except (FencedOff, Paused):
            raise
        except Exception as error:  # noqa: BLE001 -- returned and journalled by both callers
            return error

    async def _end(self, row: StepRow, outcome: Outcome, evidence: str, event: JournalEvent, told: str = "") -> StepRow:
        now = self.store.clock.now()
        ended = await self.store.write(journal.done, row.operation, row.seq, self.lease.token, outcome, evidence, at=now, event=event)
        what = {JournalEvent.DONE: What.DONE, JournalEvent.RECOVERED: What.RECOVERED}.get(event, What.FAILED if ended.is_bad else What.SKIPPED)
        self._tell(what, ended, told or evidence, seconds=now - ended.intent_at if ended.intent_at else 0.0)
        return ended

    async def _intend(self, step: Step[PortsT], row: StepRow, deadline: float, now: float) -> StepRow:
        token = self.lease.token
        begun = await self.store.write(journal.intent, row.operation, row.seq, token, deadline=deadline, at=now, begins_anew=step.begins_anew)
        if step.begins_anew:  # what follows has the deadline that was put off
            self.operation = await self.store.read(operations.get, row.operation)
        return begun

    def _deadline(self, step: Step[PortsT], row: StepRow) -> float:
        """Return until when it must be done: fixed at the first intent; a step of a revert, or one that begins anew, gets its full time at each attempt."""
        full = self.store.clock.now() + row.timeout_seconds
        if row.plan or step.begins_anew:
            return full
        return min(row.deadline or full, self.operation.deadline or full)

    def _here(self, row: StepRow, deadline: float) -> Here:
        key = f"{row.operation}/{row.key}"
        return Here(row.operation, row.seq, key, self.lease.token, row.attempt, deadline, lambda text: self._tell(What.SAID, row, text))

    def _tell(self, what: What, row: StepRow, text: str, seconds: float = 0.0) -> None:
        self.tell(Event(what, self.store.clock.now(), row.operation, text, row.seq, row.host, row.kind, seconds))


def told(error: Exception) -> str:
    """Return what a person should read about an error; the end of the trace too where it is a fault of ours."""
    if isinstance(error, ManorError):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"its time was up ({error})" if str(error) else "its time was up"
    lines = "".join(traceback.format_exception(error)).splitlines()[-TRACE_LINES:]
    return "\n".join((f"{type(error).__name__}: {error}", *lines))


def diagnosis(row: StepRow, found: Holds, why: str) -> str:
    """Say what was expected, what was found, and why nobody but a person can decide."""
    where = f" on {row.host}" if row.host else ""
    wanted = f"; before it: {row.precondition}; after it: {row.postcondition}" if row.postcondition else ""
    return f"step {row.seq} ({row.kind}{where}) was begun and is neither done nor as before: {found.detail}{wanted}; {why}"
