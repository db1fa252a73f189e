"""Carries out an operation: plan after plan, stage after stage (docs/operations.md).

Invariant: all it knows about how far it is stands in the journal; a second executor with the next token goes on where the first one died.
Invariant: after the first failure beyond the budget nothing new is begun before the caller's revert is journalled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeAlias

import sqlalchemy as sa

from manor.errors import ManorError, Paused
from manor.operations.attempt import NOT_DONE, Attempts
from manor.operations.chaos import Chaos, no_chaos
from manor.operations.events import Event, Listener, What, silent
from manor.operations.planning import Result, standing
from manor.operations.step import Planned, PortsT, StepKinds
from manor.operations.stop import Stop
from manor.state import journal, operations
from manor.state.journal import NewStep, StepRow
from manor.state.leases import Lease
from manor.state.operations import Operation
from manor.state.store import Store
from manor.state.words import OperationState, Outcome

CONCURRENT_STEPS = 50
PLANS_AT_MOST = 6
"""A forward plan and this many less one to bring things back; then a person is needed."""
HAD_FAILED = "the operation had failed"

OnFailure: TypeAlias = Callable[[Operation, Sequence[StepRow], PortsT], Awaitable[Sequence[Planned[PortsT]] | None]]
"""Asked after a failure beyond the budget, with the operation as it stands then and the failed steps, or none where it is wished: what brings things back."""


async def no_revert(_operation: Operation, _failed: Sequence[StepRow], _ports: object) -> None:
    """Plan nothing after a failure."""


OnReturn: TypeAlias = Callable[[Operation, PortsT, Callable[[str], None]], Awaitable[None]]
"""Asked before an operation is gone on with that was begun before; may tell the operator something."""


async def nothing_first(_operation: Operation, _ports: object, _say: Callable[[str], None]) -> None:
    """Go on at once."""


Beside: TypeAlias = Callable[[sa.Connection, Operation], object]
"""Written in the transaction that ends an operation, with the operation as it then stands."""


def nothing_beside(_connection: sa.Connection, _operation: Operation) -> None:
    """Write nothing beside the end."""


async def execute(
    store: Store,
    operation: str,
    ports: PortsT,
    kinds: StepKinds[PortsT],
    lease: Lease,
    *,
    on_failure: OnFailure[PortsT] = no_revert,
    on_return: OnReturn[PortsT] = nothing_first,
    tell: Listener = silent,
    stop: Stop | None = None,
    chaos: Chaos = no_chaos,
    budget: int = 0,
    concurrent: int = CONCURRENT_STEPS,
    back: str = "",
    beside: Beside = nothing_beside,
) -> Result:
    """Carry out, or go on with, an operation under a lease that covers it, and return how it stands then.

    `budget` hosts may fail; their later steps are skipped. A failure beyond it asks `on_failure` for a revert, which is carried out on
    as many hosts as possible. So it is where `back` says why an operation that goes forward is to be taken back and not gone on with; one
    that is on its way back already goes on.

    Raises FencedOff if somebody took over, UsageError if it has ended, ManorError if the store fails; then it is resumed.
    """
    known = await store.read(operations.get, operation)
    begun = await store.write(operations.begin, operation, lease.token, at=store.clock.now())
    attempts = Attempts(store, begun, kinds, ports, lease, tell, chaos)
    execution = Execution(attempts, on_failure, stop or Stop(), budget, asyncio.Semaphore(concurrent), back)
    execution.tell(What.STARTED, f"{begun.verb} {begun.lease}")
    try:
        if known.started_at is not None:
            await on_return(begun, ports, partial(execution.tell, What.SAID))
        state, summary = await execution.run()
    except Paused as paused:
        state, summary = OperationState.PAUSED, str(paused)
    await store.write(end, operation, lease.token, state, summary, beside, at=store.clock.now())
    result = await standing(store, operation)
    execution.tell_end(state, summary, result)
    return result


@dataclass
class Execution(Generic[PortsT]):
    """One executor's work on one operation."""

    attempts: Attempts[PortsT]
    on_failure: OnFailure[PortsT]
    stop: Stop
    budget: int
    limit: asyncio.Semaphore
    back: str
    """Why what goes forward is to be taken back; empty: it is not."""
    is_halted: bool = field(default=False, init=False)

    @property
    def store(self) -> Store:
        """The journal's store."""
        return self.attempts.store

    @property
    def identifier(self) -> str:
        """The operation's id."""
        return self.attempts.operation.id

    def tell(self, what: What, text: str) -> None:
        """Tell something about the operation as a whole."""
        self.attempts.tell(Event(what, self.store.clock.now(), self.identifier, text))

    def tell_end(self, state: OperationState, summary: str, result: Result) -> None:
        """Tell how it ended, host by host, or that it is paused."""
        what, text = What.PAUSED if state is OperationState.PAUSED else What.ENDED, f"{state}: {summary}" if summary else str(state)
        self.attempts.tell(Event(what, self.store.clock.now(), self.identifier, text, hosts=result.hosts))

    async def run(self) -> tuple[OperationState, str]:
        """Carry out the present plan and, after failures, those that the caller makes; return how it ended. Raises Paused."""
        while True:
            operation = await self.store.read(operations.get, self.identifier)
            await self._require_known(operation.plan)
            wished = await self._is_wished_back(operation.plan)
            steps = await (self._settle(operation.plan, self.back) if wished else self._carry_out(operation.plan))
            bad = [step for step in steps if step.is_bad and not wished]
            if not wished and not self._has_failed(operation.plan, steps) and not (bad and operation.plan):
                return end_of(operation.plan), summary_of(bad) or await self._why_back(operation.plan)
            if not await self._plan_revert(await self.store.read(operations.get, self.identifier), bad):
                await self.store.write(give_up, self.identifier, self.attempts.lease.token, operation.plan, at=self.store.clock.now())
                return OperationState.FAILED, summary_of(bad) or self.back

    async def _is_wished_back(self, plan: int) -> bool:
        """Tell whether what goes forward is to be taken back though it has not failed. Raises Paused if nothing new is to be begun."""
        if not self.back or plan or self._has_failed(plan, await self.store.read(journal.next_steps, self.identifier, plan)):
            return False
        if self.stop.is_requested:
            raise Paused(self.stop.reason)
        return True

    async def _why_back(self, plan: int) -> str:
        """Return what turned the plans before this one round: a way back that went well still has to say why it was needed."""
        steps = [step for step in await self.store.read(journal.steps, self.identifier) if step.plan < plan] if plan else []
        skipped = (step.evidence.removeprefix(NOT_DONE) for step in steps if step.outcome is Outcome.SKIPPED)
        return summary_of([step for step in steps if step.is_bad]) or next(skipped, "")

    async def _require_known(self, plan: int) -> None:
        """Raise Paused with a diagnosis, before anything is done, if a step of the plan is not known here."""
        for step in await self.store.read(journal.steps, self.identifier, plan):
            if step.outcome is Outcome.PENDING:
                self.attempts.kinds.decode(step)

    async def _carry_out(self, plan: int) -> Sequence[StepRow]:
        """Do all stages of a plan, or as many as its failures allow; return its steps."""
        while True:
            steps = await self.store.read(journal.next_steps, self.identifier, plan)
            if self._has_failed(plan, steps):
                return await self._settle(plan, HAD_FAILED)
            todo = [step for step in steps if step.outcome is Outcome.PENDING]
            if not todo:
                break
            if self.stop.is_requested:
                raise Paused(self.stop.reason)
            await self._do_stage(plan, steps, todo)
        return await self.store.read(journal.steps, self.identifier, plan)

    async def _settle(self, plan: int, why: str) -> Sequence[StepRow]:
        """Bring what was begun in a plan that is given up to an end; return its steps."""
        steps = await self.store.read(journal.steps, self.identifier, plan)
        await finish_all([self.attempts.settle(step, why) for step in steps if step.is_open])
        return await self.store.read(journal.steps, self.identifier, plan)

    async def _do_stage(self, plan: int, steps: Sequence[StepRow], todo: Sequence[StepRow]) -> None:
        """Do one stage's steps together, except on hosts that failed before."""
        lost = {step.host for step in steps if step.is_bad and step.host}
        skipped = [step.seq for step in todo if step.host in lost and not step.is_open]
        if skipped:
            reason = "not done: the host had failed before"
            await self.store.write(journal.skip, self.identifier, self.attempts.lease.token, skipped, reason, at=self.store.clock.now())
        bad = [step for step in steps if step.is_bad]
        await finish_all([self._do(plan, step, bad) for step in todo if step.seq not in skipped])

    async def _do(self, plan: int, step: StepRow, bad: list[StepRow]) -> None:
        """Do one step when there is room, unless something has happened meanwhile that speaks against it."""
        async with self.limit:
            if self.stop.is_requested or self.is_halted or self._has_failed(plan, bad):
                return
            try:
                ended = await self.attempts.carry_out(step)
            except ManorError:
                self.is_halted = True
                raise
            if ended.is_bad:
                bad.append(ended)

    async def _plan_revert(self, operation: Operation, bad: Sequence[StepRow]) -> bool:
        """Journal what the caller wants done about the failure, or about the wish; tell whether there is anything. Raises Paused if it can't say."""
        why = summary_of(bad) or self.back
        self.tell(What.REVERTING, why)
        if operation.plan + 1 >= PLANS_AT_MOST:
            return False
        try:
            planned = await self.on_failure(operation, bad, self.attempts.ports)
        except ManorError as error:
            raise Paused(f"{why}; and no way back could be planned: {error}") from error
        if not planned:
            return False
        encoded = [self.attempts.kinds.encode(step) for step in planned]
        told, now = HAD_FAILED if bad else self.back, self.store.clock.now()
        await self.store.write(turn_back, self.identifier, self.attempts.lease.token, operation.plan, encoded, at=now, why=told)
        return True

    def _has_failed(self, plan: int, steps: Sequence[StepRow]) -> bool:
        """Tell whether a plan can't go on: a step of the controller failed, or, going forward, more hosts than the budget."""
        bad = [step for step in steps if step.is_bad]
        if any(not step.host for step in bad):
            return True
        return plan == 0 and len({step.host for step in bad}) > self.budget


def end(connection: sa.Connection, operation: str, token: int, state: OperationState, summary: str, beside: Beside, *, at: float) -> None:
    """Write how an operation ended, or that it is paused, and in the same transaction what belongs beside an end. Raises FencedOff."""
    ended = operations.end(connection, operation, token, state, summary, at=at)
    if ended.state.is_final:
        beside(connection, ended)


async def finish_all(work: Sequence[Coroutine[Any, Any, object]]) -> None:
    """Run all to their end even if one pauses, then raise Paused with all reasons; any other error ends the rest at once."""
    tasks = [asyncio.ensure_future(one) for one in work]
    reasons = []
    try:
        for task in asyncio.as_completed(tasks):
            try:
                await task
            except Paused as paused:
                reasons.append(str(paused))
    finally:
        for unfinished in tasks:
            unfinished.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if reasons:
        raise Paused("\n".join(reasons))


def turn_back(connection: sa.Connection, operation: str, token: int, plan: int, steps: Sequence[NewStep], *, at: float, why: str = HAD_FAILED) -> None:
    """Give up the rest of a plan and make these steps the next one, in one transaction."""
    give_up(connection, operation, token, plan, at=at, why=why)
    operations.set_plan(connection, operation, token, plan + 1)
    journal.append(connection, operation, steps, plan=plan + 1)


def give_up(connection: sa.Connection, operation: str, token: int, plan: int, *, at: float, why: str = HAD_FAILED) -> None:
    """Skip what is still to be done of a plan."""
    todo = [step.seq for step in journal.steps(connection, operation, plan) if step.outcome is Outcome.PENDING]
    journal.skip(connection, operation, token, todo, f"{NOT_DONE}{why}", at=at)


def end_of(plan: int) -> OperationState:
    """Return how an operation ended whose plan was carried out."""
    return OperationState.REVERTED if plan else OperationState.DONE


def summary_of(bad: Sequence[StepRow]) -> str:
    """Say which steps failed, and why."""
    return "; ".join(f"step {step.seq} ({step.kind}{f' on {step.host}' if step.host else ''}) {step.outcome}: {step.evidence}" for step in bad)
