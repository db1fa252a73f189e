"""What a process that leaves at once leaves behind: which operation, who goes on with it, and how to stop that (docs/operations.md).

Invariant: reads only, and waits for nothing: whoever leaves has been asked twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from manor.errors import UsageError
from manor.state import deliveries, leases, operations
from manor.state.deliveries import Delivery
from manor.state.holder import Holder, this_process
from manor.state.leases import Lease
from manor.state.operations import Operation
from manor.state.store import Connection
from manor.workflows.context import Context
from manor.workflows.controlling import noted_controller


def left_behind(context: Context) -> tuple[str, ...]:
    """Return what is left half-way and what comes of it, a line each."""
    left = context.store.read_now(held_work, this_process())
    if not left:
        return ("left at once; nothing is half done",)
    controller = noted_controller(context)
    return told_left(left[0], controller.pid if controller else 0)


def held_work(connection: Connection, me: Holder) -> Sequence[Operation | Delivery]:
    """Return what a process holds leases for: operations first, since they are what a delivery is at."""
    mine = [lease for lease in leases.standing(connection) if lease.holder == me]
    found = [work for lease in mine if (work := work_of(connection, lease)) is not None and not work.state.is_final]
    return sorted(found, key=lambda work: isinstance(work, Delivery))


def work_of(connection: Connection, lease: Lease) -> Operation | Delivery | None:
    """Return what a lease is held for; None if it was written down nowhere yet."""
    try:
        if lease.operation:
            return operations.get(connection, lease.operation)
        kind, _, identifier = lease.name.partition(":")
        return deliveries.get(connection, identifier) if kind == "delivery" else None
    except UsageError:
        return None


def told_left(work: Operation | Delivery, controller: int) -> tuple[str, ...]:
    """Return the lines about one piece of work; `controller` is the pid of a running one, or 0."""
    where = work.lease if isinstance(work, Operation) else f"{work.service} to {work.environment}"
    first = f"left at once: {work.verb} {where} ({work.id}) is half done"
    give_up = f"`manor abandon {work.id} --reason …`"
    if not controller:
        return (first, f"nobody goes on with it: `manor resume {work.id}` does, {give_up} gives it up")
    onward = ", and into the environments that follow" if isinstance(work, Delivery) or work.delivery else ""
    return (first, f"the controller (pid {controller}) goes on with it{onward}; to stop that: `kill {controller}`, then {give_up}")
