"""Takes over what an executor that is gone left in a service's way, before a verb does its own (docs/operations.md, adoption).

Invariant: nothing is taken over before all that stands in the way was decided about; what waits for a person keeps the verb from beginning.
"""

from __future__ import annotations

from dataclasses import dataclass

from manor.errors import FencedOff, ManorError, NotRestored, Paused
from manor.operations.adoption import find_orphans
from manor.operations.engine import nothing_beside
from manor.operations.events import Event, What
from manor.operations.planning import Result
from manor.state import deliveries, operations
from manor.state.operations import Operation
from manor.state.store import Connection
from manor.state.words import DeliveryState, OperationState
from manor.workflows.context import Context
from manor.workflows.orphans import ROLLBACK, Coming, Fate, fate_of, is_left_by, refusal
from manor.workflows.resuming import require_ended_well, resume_operation
from manor.workflows.rolling import Carrying, is_certified_by

TURNED_ROUND = "a rollback was asked for while nobody carried it out"
"""Why a rollout is turned round that has not failed; what the journal and the receipt say."""


@dataclass(frozen=True)
class Left:
    """An operation in the way of a verb that nobody carries out, and what becomes of it."""

    operation: Operation
    fate: Fate


def coming_to(context: Context, verb: str, environment: str, service: str) -> Coming:
    """Return a verb that is about to change a service."""
    return Coming(verb, environment, service, context.estate.digest)


async def find_left(context: Context, coming: Coming) -> tuple[Left, ...]:
    """Return what was left in the way of a verb, oldest first."""
    orphans = {one.id for one in await find_orphans(context.store)}
    found = await context.store.read(operations.unfinished, coming.lease)
    return tuple([await judge(context, one, coming) for one in found if one.state is OperationState.PAUSED or one.id in orphans])


async def judge(context: Context, operation: Operation, coming: Coming) -> Left:
    """Return what becomes of an operation as it stands now; it may stand otherwise until its lease is held."""
    return Left(operation, fate_of(operation, coming, has_certified=await is_certified_by(context.store, operation)))


def require_decided(left: tuple[Left, ...], coming: Coming) -> None:
    """Raise Paused, saying how to go on, if anything that was left waits for a person."""
    for one in left:
        if one.fate is Fate.WAIT:
            raise Paused(refusal(one.operation, coming))


async def take_over(context: Context, coming: Coming, carrying: Carrying) -> tuple[Result, ...]:
    """Bring to an end what was left in a verb's way, and return how each ended; what was turned round and serves as before is told, and keeps nobody.

    Raises Paused, before anything is done, for what waits for a person; NotRestored and Paused for what ends so; FencedOff.
    """
    require_decided(await find_left(context, coming), coming)
    return await take_over_own(context, coming, carrying)


async def take_over_own(context: Context, coming: Coming, carrying: Carrying) -> tuple[Result, ...]:
    """Do the same, leaving what waits for a person to whoever comes to it. Raises NotRestored, Paused, FencedOff.

    Who asked that nothing new be begun is heard between two of them, and before the verb does its own; a rollback may have been done by then.
    """
    ended, is_begun = [], False
    for one in await find_left(context, coming):
        if one.fate is Fate.WAIT:
            continue
        if is_begun:
            require_not_stopped(coming, carrying)
        is_begun = True
        result = await end_one(context, one, coming, carrying)
        ended += [result] if result is not None else []
    if is_begun and coming.verb != ROLLBACK:
        require_not_stopped(coming, carrying)
    return tuple(ended)


def require_not_stopped(coming: Coming, carrying: Carrying) -> None:
    """Raise Paused if somebody asked meanwhile that nothing new be begun."""
    if carrying.stop is not None and carrying.stop.is_requested:
        raise Paused(f"{carrying.stop.reason}; nothing of the {coming.verb} itself was begun: `manor status` shows what serves")


async def end_one(context: Context, left: Left, coming: Coming, carrying: Carrying) -> Result | None:
    """Bring one operation to its end and return how it ended; None: that failed and is told. Raises NotRestored, Paused, FencedOff."""
    operation, is_left = left.operation, is_left_by(coming, left.operation)

    def say(text: str) -> None:
        told = f"{operation.verb} {operation.lease}, operation {operation.id}: {text}"
        carrying.tell(Event(What.SAID, context.store.clock.now(), operation.id, told))

    async def why_back(now: Operation) -> str:
        found = await judge(context, now, coming)
        require_decided((found,), coming)
        is_back = found.fate is Fate.TURN_ROUND
        told = f"it is turned round: {coming.verb} does not finish it" if is_back else "it is gone on with first"
        say(f"nobody carries it out any more; {told}")
        return TURNED_ROUND if is_back else ""

    try:
        result = await resume_operation(context, operation, carrying, why_back=why_back, beside=end_delivery if is_left else nothing_beside)
        if not is_as_wished(result, is_left=is_left):
            require_ended_well(result)
    except (FencedOff, NotRestored, Paused):
        raise
    except ManorError as error:
        say(str(error))
        return None
    return result


def is_as_wished(result: Result, *, is_left: bool) -> bool:
    """Tell whether an end is no failure: what was to be left was turned round, or a person gave it up meanwhile."""
    state = result.operation.state
    return state is OperationState.ABANDONED or (is_left and state is OperationState.REVERTED)


def end_delivery(connection: Connection, ended: Operation) -> None:
    """End the delivery that a rollout is part of which a rollback takes over, however that ended: it goes into no further environment."""
    if ended.delivery and ended.ended_at is not None:
        deliveries.end(connection, ended.delivery, DeliveryState.FAILED, f"{ended.environment} was rolled back", at=ended.ended_at)
