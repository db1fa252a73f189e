"""Ship and promote: a delivery is written down before its first environment and goes on as far as it may, whoever dies (docs/delivery.md).

Invariant: who carries a delivery out holds its lease; what it did in an environment is read from its operations there, so nothing is done twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

from manor.errors import Busy, DifferencesFound, ManorError, Paused, Unreachable, UsageError
from manor.operations.chaos import Point
from manor.operations.events import Event, What
from manor.operations.leasing import hold
from manor.operations.planning import standing
from manor.state import deliveries, operations
from manor.state.deliveries import Delivery, Wish
from manor.state.holder import this_process
from manor.state.operations import Operation, new_id
from manor.state.store import Connection
from manor.state.words import DeliveryState, OperationState
from manor.workflows.artifacts import Origin, keep_file, require_file, require_kept
from manor.workflows.context import Context
from manor.workflows.delivery import Delivered, Entry, ask_entry, certified_before, deliver_to, finish, first_environment, path_from
from manor.workflows.gates import gate_problems
from manor.workflows.resuming import candidates, resume_operation
from manor.workflows.rolling import ORDER, Carrying
from manor.workflows.taking_over import coming_to, take_over, take_over_own

SHIP = "ship"
PROMOTE = "promote"
MOMENT = -1
"""Where a delivery can be killed has no step's number; its kinds are `delivery` and `delivery-<environment>`."""
WAITS = (Busy, Paused, Unreachable)
"""What may be otherwise later: a lease is let go, a person decides, a host answers."""
Accept: TypeAlias = Callable[[Connection], object]


def nothing_more(_connection: Connection) -> None:
    """Write nothing beside the delivery."""


async def ship(context: Context, service: str, path: Path, carrying: Carrying, *, origin: Origin, to: str = "", again: str = "") -> list[Delivered]:
    """Take an artifact in and deliver it from the first environment on. Raises what the failing environment raises, Refused, UsageError."""
    start = entrance(context, service, to)
    accept = await keep_file(context, service, path, origin)
    return await deliver(context, Wish(SHIP, service, accept.digest, start, to, carrying.actor, again), carrying, accept)


def entrance(context: Context, service: str, to: str = "") -> str:
    """Return the environment that a service's releases enter. Raises UsageError if no way leads from there to `to`."""
    start = first_environment(context, service)
    if to:
        context.environment(to)
    path_from(context, start, to=to)
    return start


async def promote(context: Context, service: str, to: str, carrying: Carrying, *, release: str = "", again: str = "") -> Delivered:
    """Roll out in one environment what is certified in the one before it. Raises UsageError, DifferencesFound."""
    wish = await promotion(context, service, to, carrying.actor, release=release, again=again)
    accept = partial(require_file, folder=context.store.folder, digest=wish.artifact)
    return (await deliver(context, wish, carrying, accept))[-1]


async def promotion(context: Context, service: str, to: str, actor: str, *, release: str = "", again: str = "") -> Wish:
    """Return what a promotion is to deliver. Raises UsageError, DifferencesFound."""
    declared = context.environment(to)
    if declared.after is None:
        raise UsageError(f"nothing comes before {to}; use `manor ship`")
    chosen = await certified_before(context, service, declared.after, release)
    await require_kept(context, chosen.artifact)
    problems = await gate_problems(context, chosen.artifact, declared.gates)
    if problems:
        raise DifferencesFound(f"{to}: {'; '.join(problems)}")
    return Wish(PROMOTE, service, chosen.artifact, to, to, actor, again)


async def deliver(context: Context, wish: Wish, carrying: Carrying, accept: Accept = nothing_more) -> list[Delivered]:
    """Write a wish down, together with what `accept` writes, and carry it out; a delivery of the same wish that somebody left is gone on with."""
    store = context.store
    carrying.chaos(MOMENT, "delivery", Point.BEFORE_INTENT)
    same = await store.read(deliveries.find_same, wish)
    identifier = same.id if same else new_id(store.clock.now())
    async with hold(store, deliveries.lease_name(identifier), wait_seconds=carrying.wait_seconds):
        if same is None or not (await store.read(deliveries.get, identifier)).state.is_final:
            delivery = await store.write(accept_and_begin, accept, identifier, wish, store.clock.now())
            carrying.chaos(MOMENT, "delivery", Point.AFTER_INTENT)
            return await carry_out(context, delivery, carrying, begins=True)
    return await deliver(context, wish, carrying, accept)  # it ended while its lease was waited for


def accept_and_begin(connection: Connection, accept: Accept, identifier: str, wish: Wish, at: float) -> Delivery:
    """Write both in one transaction: no artifact is accepted without the intention to deliver it."""
    accept(connection)
    return deliveries.begin(connection, identifier, wish, at=at)


def accept_and_write_down(connection: Connection, accept: Accept, wish: Wish, at: float) -> Delivery:
    """Write both in one transaction, to be carried out by whoever looks."""
    accept(connection)
    return deliveries.write_down(connection, wish, at=at)


async def settle(context: Context, mine: Delivery, carrying: Carrying) -> None:
    """Go on with what was left of the same service, before anything newer enters; what was turned round is told and keeps nobody.

    Raises Paused if something in the first environment waits for a person, and what `take_over` raises. What waits in a later one
    stops the delivery there, if it comes so far.
    """
    first, *later = (coming_to(context, mine.verb, name, mine.service) for name in path_from(context, mine.environment, to=mine.to))
    await take_over(context, first, carrying)
    for coming in later:
        await take_over_own(context, coming, carrying)
    for other in await find_orphans(context):
        waits = await context.store.read(deliveries.has_unfinished_operation, other.id)
        if other.service == mine.service and other.id != mine.id and not waits:
            try:
                await go_on(context, other.id, carrying, is_patient=True)
            except ManorError as error:
                carrying.tell(Event(What.SAID, context.store.clock.now(), other.id, f"{other.verb} {other.service}, delivery {other.id}: {error}"))


async def find_orphans(context: Context) -> tuple[Delivery, ...]:
    """Return the open deliveries that nobody carries out, oldest first."""
    return await context.store.read(deliveries.orphans, this_process(), context.store.clock.now())


async def go_on(context: Context, identifier: str, carrying: Carrying, *, by_person: bool = False, is_patient: bool = False) -> list[Delivered]:
    """Go on with a delivery that somebody left. Raises Busy if it is being carried out, and what the failing environment raises.

    `by_person`: also with an operation of it that was paused. `is_patient`: what may be otherwise later without a person leaves it open.
    """
    store = context.store
    async with hold(store, deliveries.lease_name(identifier), wait_seconds=carrying.wait_seconds):
        if (await store.read(deliveries.get, identifier)).state.is_final:
            return []
        delivery = await store.write(deliveries.reopen, identifier)
        return await carry_out(context, delivery, carrying, by_person=by_person, is_patient=is_patient)


async def carry_out(
    context: Context, delivery: Delivery, carrying: Carrying, *, begins: bool = False, by_person: bool = False, is_patient: bool = False
) -> list[Delivered]:
    """Deliver from where it is, as the holder of its lease, and write how that ended; who `begins` goes on first with what was left of the service."""
    store = context.store
    try:
        if begins:
            await settle(context, delivery, carrying)
        delivered = await along(context, delivery, carrying, by_person=by_person)
    except ManorError as error:
        await store.write(end_by, delivery.id, error, store.clock.now(), is_patient=is_patient)
        raise
    await store.write(deliveries.end, delivery.id, DeliveryState.DONE, delivered[-1].note, at=store.clock.now())
    return delivered


def end_by(connection: Connection, identifier: str, error: ManorError, at: float, *, is_patient: bool) -> None:
    """Write that an error ended a delivery, or stopped it on its way: before its first operation nothing is worth keeping.

    A patient one stays open for what may be otherwise later, unless an operation of its own waits for a person.
    """
    last = operations.last_of_delivery(connection, identifier)
    if is_patient and isinstance(error, WAITS) and (last is None or last.state is not OperationState.PAUSED):
        return
    state = DeliveryState.FAILED
    if last is not None and last.state is OperationState.ABANDONED:
        state = DeliveryState.ABANDONED
    elif last is not None and isinstance(error, WAITS):
        state = DeliveryState.PAUSED
    deliveries.end(connection, identifier, state, str(error), at=at)


async def along(context: Context, delivery: Delivery, carrying: Carrying, *, by_person: bool) -> list[Delivered]:
    """Deliver environment by environment, until one may not be entered."""
    delivered: list[Delivered] = []
    for name in path_from(context, delivery.environment, to=delivery.to):
        begun = await context.store.read(operations.last_of_delivery, delivery.id, name)
        entry = Entry() if begun else await ask_entry(context, delivery, name)
        if entry.held_back:
            return [*delivered, Delivered(name, "", "", note=entry.held_back)]
        carrying.chaos(MOMENT, f"delivery-{name}", Point.BEFORE_INTENT)
        await context.store.write(deliveries.enter, delivery.id, name)
        carrying.chaos(MOMENT, f"delivery-{name}", Point.AFTER_INTENT)
        doing = deliver_again(context, begun, carrying, by_person=by_person) if begun else deliver_to(context, delivery, name, carrying, entry.gates)
        delivered.append(await doing)
        carrying.chaos(MOMENT, f"delivery-{name}", Point.AFTER_DONE)
    return delivered


async def deliver_again(context: Context, begun: Operation, carrying: Carrying, *, by_person: bool) -> Delivered:
    """Go on with what a delivery began in an environment, or return how it had ended. Raises Paused for what waits for a person, and what its end means."""
    if begun.state is OperationState.PAUSED and not by_person:
        (await standing(context.store, begun.id)).raise_unless_done()
    result = await standing(context.store, begun.id) if begun.state.is_final else await resume_operation(context, begun, carrying)
    return await finish(context, begun.environment, result, ORDER.validate_json(begun.arguments).release)


async def find_unfinished(context: Context, named: str, *, environment: str = "") -> Operation | Delivery:
    """Return what a person means by an id, a service, or nothing: an unfinished operation, or a delivery that stopped between two. Raises UsageError."""
    found: list[Operation | Delivery] = [*await candidates(context.store, named, environment=environment)]
    for delivery in await context.store.read(deliveries.unfinished):
        last = await context.store.read(operations.last_of_delivery, delivery.id)
        if last is not None and not last.state.is_final:
            found += [last] if named == delivery.id else []
        elif named in ("", delivery.id, delivery.service) and environment in ("", delivery.environment):
            found.append(delivery)
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"there is nothing unfinished{' of ' + named if named else ''}{' in ' + environment if environment else ''}")
    raise UsageError(f"several are unfinished: {'; '.join(map(named_in_list, found))}; name one by its id")


def named_in_list(one: Operation | Delivery) -> str:
    """Return how an unfinished operation or delivery is told from others."""
    if isinstance(one, Operation):
        return f"{one.id} ({one.verb} {one.lease}, {one.state})"
    return f"{one.id} ({one.verb} {one.service}, {one.state} at {one.environment})"


async def delivery_of(context: Context, operation: Operation) -> Delivery | None:
    """Return the unfinished delivery that an operation is part of, or None."""
    found = await context.store.read(deliveries.get, operation.delivery) if operation.delivery else None
    return found if found is not None and not found.state.is_final else None
