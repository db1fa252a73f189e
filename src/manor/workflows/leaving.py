"""What a process that leaves at once leaves behind: which operations, who goes on with each, and how to stop that (docs/operations.md).

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
from manor.workflows.ending_hosts import VERB as DOWN
from manor.workflows.orphans import APPLY, FORWARD
from manor.workflows.removing import VERB as REMOVAL


def left_behind(context: Context) -> tuple[str, ...]:
    """Return what is left half-way and what comes of it, two lines for each piece of work."""
    left = context.store.read_now(held_work, this_process())
    if not left:
        return ("left at once; nothing is half done",)
    controller = noted_controller(context)
    pid = controller.pid if controller else 0
    return tuple(line for work in left for line in told_left(work, pid))


def held_work(connection: Connection, me: Holder) -> Sequence[Operation | Delivery]:
    """Return what a process holds leases for, oldest first; a delivery only between two of its operations, else the one that it is at."""
    mine = [lease for lease in leases.standing(connection) if lease.holder == me]
    found = {work.id: work for lease in mine if (work := work_of(connection, lease)) is not None and not work.state.is_final}
    at = {work.delivery for work in found.values() if isinstance(work, Operation)}
    return sorted((work for work in found.values() if work.id not in at), key=lambda work: (work.created_at, work.id))


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
        return (first, f"nobody goes on with it by itself: `manor resume {work.id}` does, and so {successors(work)}; {give_up} gives it up")
    onward = ", and into the environments that follow" if isinstance(work, Delivery) or work.delivery else ""
    return (first, f"the controller (pid {controller}) goes on with it{onward}; to stop that: `kill {controller}`, then {give_up}")


def successors(work: Operation | Delivery) -> str:
    """Return which verbs go on with a piece of work besides `resume`, as the rest of a sentence (`orphans.fate_of`)."""
    if isinstance(work, Delivery):
        return f"do the same verb once more and the next `manor ship` or `manor promote` of {work.service}"
    environment, service = work.environment, work.service
    if work.verb == DOWN:
        return f"do `manor down -e {environment}` and `manor up -e {environment}`"
    if work.verb == APPLY:
        return f"do, while the estate is the same, `manor apply -e {environment}`, `manor up -e {environment}` and the next verb on a service there"
    if work.verb == REMOVAL:
        return f"does `manor service remove {service} -e {environment}`"
    others = f"does the next `manor ship`, `manor promote` or `manor service restart` of {service} there"
    return f"{others}; `manor rollback {service} -e {environment}` {'turns it round' if work.verb in FORWARD else 'goes on with it too'}"
