"""Gives up an operation that stopped half-way: what must not outlive it is ended, and a rollout gets its receipt (docs/verbs/abandon.md).

Invariant: nothing is turned back, and nothing that fails on the way keeps a person from giving an operation up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from manor.errors import ManorError
from manor.operations.events import Event, Listener, What, silent
from manor.operations.leasing import hold
from manor.operations.planning import standing
from manor.operations.step import Here
from manor.rollout.framing import SetMaintenance
from manor.rollout.slots import SlotStep
from manor.state import deliveries, journal, operations
from manor.state.deliveries import Delivery
from manor.state.journal import StepRow
from manor.state.leases import Lease
from manor.state.operations import Operation
from manor.state.store import Connection
from manor.state.words import DeliveryState, Outcome
from manor.workflows.context import Context
from manor.workflows.probing import LocalProber
from manor.workflows.receipts import VERBS_WITH_RECEIPT, receipt_or_reason
from manor.workflows.rolling import ROLLOUT_KINDS, resumed_rollout

ACT_SECONDS = 60.0


async def abandon_operation(context: Context, operation: Operation, reason: str, actor: str, tell: Listener = silent) -> Operation:
    """Give an operation up where it stands. What it left is shown by `manor status` and mended by the next rollout or apply."""

    def say(text: str) -> None:
        tell(Event(What.SAID, context.store.clock.now(), operation.id, text))

    is_rollout = operation.verb in VERBS_WITH_RECEIPT
    async with hold(context.store, operation.lease, operation.id) as lease:
        ended = await context.store.write(abandon_with_delivery, operation, lease.token, actor, reason, context.store.clock.now())
        if is_rollout:
            await end_probe(context, ended, say)
            await take_page_away(context, ended, lease, say)
    if is_rollout:
        _, why_not = await receipt_or_reason(context, await standing(context.store, operation.id))
        say(why_not or f"`manor receipt {operation.id}` says what was lost until then")
    return ended


def abandon_with_delivery(connection: Connection, operation: Operation, token: int, actor: str, reason: str, at: float) -> Operation:
    """Give an operation up, and what of its delivery was still to come."""
    ended = operations.abandon(connection, operation.id, token, actor, reason, at=at)
    if operation.delivery:
        deliveries.end(connection, operation.delivery, DeliveryState.ABANDONED, reason, at=at, actor=actor)
    return ended


async def abandon_delivery(context: Context, delivery: Delivery, reason: str, actor: str) -> Delivery:
    """Give up what of a delivery was still to come; where it has been, it stays. Raises Busy if it is being carried out."""
    async with hold(context.store, delivery.lease):
        return await context.store.write(deliveries.end, delivery.id, DeliveryState.ABANDONED, reason, at=context.store.clock.now(), actor=actor)


async def end_probe(context: Context, operation: Operation, say: Callable[[str], None]) -> None:
    """End the rollout's probe; what hinders that is told."""
    try:
        await LocalProber(context, operation.environment, operation.service).end(operation.id)
    except ManorError as error:
        say(f"the probe could not be ended: {error}")


async def take_page_away(context: Context, operation: Operation, lease: Lease, say: Callable[[str], None]) -> None:
    """Take the maintenance page away unless an instance is half replaced behind it; what hinders that is told."""
    rows = await context.store.read(journal.steps, operation.id)
    here = Here(operation.id, 0, f"{operation.id}-abandon", lease.token, 1, context.store.clock.now() + ACT_SECONDS, say)
    try:
        if not may_show_page(rows):
            return
        if is_replacing(rows):
            say(f"{operation.service}: the maintenance page stays: an instance was being replaced behind it; the next rollout takes it away")
            return
        await (await resumed_rollout(context, operation)).fleet.set_maintenance(operation.service, here, on=False)
    except ManorError as error:
        say(f"{operation.service}: the maintenance page could not be taken away: {error}; the next rollout takes it away")
    else:
        say(f"{operation.service}: the maintenance page is taken away")


def may_show_page(rows: Sequence[StepRow]) -> bool:
    """Tell whether a maintenance page that the rollout put up may still be shown."""
    pages = [row for row in rows if row.kind == SetMaintenance.kind and row.intent_at is not None]
    return bool(pages) and (is_on(pages[-1]) or pages[-1].outcome is not Outcome.OK)


def is_replacing(rows: Sequence[StepRow]) -> bool:
    """Tell whether a slot was touched, and the plan that was under way did not come to the end of it."""
    slots = [row for row in rows if isinstance(ROLLOUT_KINDS.decode(row), SlotStep)]
    last = max((row.plan for row in rows), default=0)
    was_touched = any(row.intent_at is not None for row in slots)
    return was_touched and any(row.outcome is not Outcome.OK for row in slots if row.plan == last)


def is_on(row: StepRow) -> bool:
    """Tell whether the step put the page up."""
    step = ROLLOUT_KINDS.decode(row)
    return isinstance(step, SetMaintenance) and step.on
