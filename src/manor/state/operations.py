"""Operations: one row for each verb that changes something.

Invariant: a row changes only for the executor whose token it bears; each change of state leaves a line in the audit.
Functions take a connection within a transaction of `Store.write` or `Store.read`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from manor.errors import FencedOff, Paused, UsageError
from manor.state import audit, rows, tables
from manor.state.leases import assign, exclude, lease_name
from manor.state.words import FINAL, OperationState, Outcome


@dataclass(frozen=True)
class NewOperation:
    """What is known when an operation is asked for."""

    verb: str
    environment: str
    service: str = ""
    actor: str = ""
    arguments: str = "{}"
    """JSON: all that another executor needs to go on with it."""
    estate_digest: str = ""
    plan_hash: str = ""
    deadline: float | None = None
    """When, at the latest, its forward plan must be done; absolute."""
    delivery: str = ""
    """The delivery that it is one environment of; empty: it is none."""


@dataclass(frozen=True)
class Operation:
    """An operation as it stands."""

    id: str
    verb: str
    environment: str
    service: str
    actor: str
    arguments: str
    estate_digest: str
    plan_hash: str
    token: int
    state: OperationState
    phase: str
    """The caller's own finer word, e.g. `draining`."""
    summary: str
    plan: int
    """Which plan is being carried out: 0 the forward one, above it those made after a failure."""
    deadline: float | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    delivery: str = ""
    """The delivery that it is one environment of."""

    @property
    def lease(self) -> str:
        """The name of the lease under which it is carried out."""
        return lease_name(self.environment, self.service)


BY_ID = sa.select(tables.operations).where(tables.operations.c.id == sa.bindparam("identifier"))
CHANGE = tables.operations.update().where(tables.operations.c.id == sa.bindparam("identifier"))


def new_id(at: float) -> str:
    """Return an id that sorts by time and is fit for names of files and labels, e.g. `20260131t090000-1a2b3c`."""
    return f"{datetime.fromtimestamp(at, UTC):%Y%m%dt%H%M%S}-{secrets.token_hex(3)}"


def create(connection: sa.Connection, new: NewOperation, *, at: float) -> Operation:
    """Write a planned operation. Its steps are added with `journal.append`, in the same transaction."""
    identifier = new_id(at)
    connection.execute(tables.operations.insert().values(**vars(new), id=identifier, state=OperationState.PLANNED, created_at=at))
    operation = get(connection, identifier)
    note(connection, operation, "", operation.state, at)
    return operation


def get(connection: sa.Connection, identifier: str) -> Operation:
    """Return an operation. Raises UsageError if there is none of that id."""
    found = rows.first_of(connection, BY_ID, Operation, identifier=identifier)
    if found is None:
        raise UsageError(f"there is no operation {identifier!r}; `manor status` lists them")
    return found


def recent(
    connection: sa.Connection, environment: str | None = None, service: str | None = None, states: Sequence[OperationState] = (), limit: int = 50
) -> tuple[Operation, ...]:
    """Return operations, newest first, of an environment, a service, in certain states."""
    table = tables.operations
    query = sa.select(table).order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)
    if environment is not None:
        query = query.where(table.c.environment == environment)
    if service is not None:
        query = query.where(table.c.service == service)
    if states:
        query = query.where(table.c.state.in_(states))
    return rows.all_of(connection, query, Operation)


def summaries(connection: sa.Connection, identifiers: Sequence[str]) -> dict[str, str]:
    """Return how operations ended, in words, by id."""
    table = tables.operations
    found = connection.execute(sa.select(table.c.id, table.c.summary).where(table.c.id.in_(identifiers)))
    return {row.id: row.summary for row in found}


def last_of_delivery(connection: sa.Connection, delivery: str, environment: str | None = None) -> Operation | None:
    """Return the newest operation of a delivery that was begun, in one environment if given."""
    table = tables.operations
    query = (
        sa.select(table).where((table.c.delivery == delivery) & table.c.started_at.is_not(None)).order_by(table.c.created_at.desc(), table.c.id.desc()).limit(1)
    )
    return rows.first_of(connection, query if environment is None else query.where(table.c.environment == environment), Operation)


def unfinished(connection: sa.Connection, name: str) -> tuple[Operation, ...]:
    """Return running and paused operations whose lease would exclude the lease `name`, oldest first."""
    table = tables.operations
    query = sa.select(table).where(table.c.state.in_([OperationState.RUNNING, OperationState.PAUSED])).order_by(table.c.created_at)
    return tuple(found for found in rows.all_of(connection, query, Operation) if exclude(found.lease, name))


def require_none_unfinished(connection: sa.Connection, name: str) -> None:
    """Raise Paused, saying how to go on, if an operation under an excluding lease was interrupted: it is decided about first."""
    for found in unfinished(connection, name):
        raise Paused(unfinished_text(found))


def unfinished_text(found: Operation) -> str:
    """Say which operation is to be decided about first, and how."""
    told = f": {found.summary}" if found.summary else ""
    return f"operation {found.id} ({found.verb} {found.lease}) is {found.state}{told}; first {ways_on(found.id)}"


def ways_on(identifier: str) -> str:
    """Return the commands that decide about an operation or a delivery that stopped half-way, as they are to be typed."""
    return f"`manor resume {identifier}`, or `manor abandon {identifier} --reason …`"


def carried_out(connection: sa.Connection, environment: str, plan_hash: str) -> Operation | None:
    """Return the operation that carried this plan (its hash or the beginning of it) out, if nothing was begun in the environment since.

    See docs/operations.md.
    """
    table = tables.operations
    begun = sa.select(table).where((table.c.environment == environment) & table.c.started_at.is_not(None))
    last = rows.first_of(connection, begun.order_by(table.c.started_at.desc(), table.c.id.desc()).limit(1), Operation)
    return last if last and plan_hash and last.plan_hash.startswith(plan_hash) and last.state is OperationState.DONE else None


def begin(connection: sa.Connection, identifier: str, token: int, *, at: float) -> Operation:
    """Make the holder of the token its executor: a new, a paused, or an orphaned operation runs (again).

    Raises FencedOff if a newer token has been there, UsageError if it has ended.
    """
    operation = get(connection, identifier)
    if operation.token > token:
        raise FencedOff(f"operation {identifier} goes on under token {operation.token}; this executor has {token} and stops")
    if operation.state.is_final:
        raise UsageError(f"operation {identifier} has ended: {operation.state}")
    if operation.state is OperationState.RUNNING and operation.token == token:
        return operation
    change(connection, identifier, token=token, state=OperationState.RUNNING, started_at=operation.started_at or at, summary="")
    assign(connection, token, identifier)
    note(connection, operation, operation.state, OperationState.RUNNING, at)
    for pause in pauses(connection, identifier)[-1:]:
        put_off(connection, operation, pause.seconds if pause.ended == at else 0.0)
    return get(connection, identifier)


@dataclass(frozen=True)
class Pause:
    """A time in which an operation waited for a person."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it was."""
        return max(0.0, self.ended - self.began)


def pauses(connection: sa.Connection, identifier: str) -> tuple[Pause, ...]:
    """Return the pauses of an operation that are over, oldest first."""
    found: list[Pause] = []
    began: float | None = None
    for line in audit.lines(connection, operation=identifier):
        if line.after.partition(":")[0] == OperationState.PAUSED:
            began = line.at
        elif began is not None and line.before == OperationState.PAUSED:
            found.append(Pause(began, line.at))
            began = None
    return tuple(found)


def put_off(connection: sa.Connection, operation: Operation, seconds: float) -> None:
    """Move the deadlines of an operation and of its open steps: what waited for a person was not slow."""
    if operation.deadline is not None:
        change(connection, operation.id, deadline=operation.deadline + seconds)
    table = tables.steps
    open_steps = (table.c.operation == operation.id) & (table.c.outcome == Outcome.PENDING) & table.c.deadline.is_not(None)
    connection.execute(table.update().where(open_steps).values(deadline=table.c.deadline + seconds))


def require_token(connection: sa.Connection, identifier: str, token: int) -> Operation:
    """Return the operation if the token is the one it goes on under. Raises FencedOff."""
    operation = get(connection, identifier)
    if operation.token != token or operation.state is not OperationState.RUNNING:
        raise FencedOff(f"operation {identifier} is {operation.state} under token {operation.token}; this executor has {token} and stops")
    return operation


def set_phase(connection: sa.Connection, identifier: str, token: int, phase: str) -> None:
    """Write the caller's own finer word for how far it is."""
    require_token(connection, identifier, token)
    change(connection, identifier, phase=phase)


def set_plan(connection: sa.Connection, identifier: str, token: int, plan: int) -> None:
    """Go on with another plan of the same operation."""
    require_token(connection, identifier, token)
    change(connection, identifier, plan=plan)


def end(connection: sa.Connection, identifier: str, token: int, state: OperationState, summary: str, *, at: float) -> Operation:
    """Write how it ended, or that it is paused. Raises FencedOff."""
    before = require_token(connection, identifier, token)
    change(connection, identifier, state=state, summary=summary, ended_at=at if state in FINAL else None)
    note(connection, before, before.state, state, at, summary)
    return get(connection, identifier)


def abandon(connection: sa.Connection, identifier: str, token: int, actor: str, reason: str, *, at: float) -> Operation:
    """Give up a planned, paused or orphaned operation, as the holder of its lease. Raises FencedOff, UsageError if it has ended."""
    before = begin(connection, identifier, token, at=at)
    change(connection, identifier, state=OperationState.ABANDONED, summary=reason, ended_at=at)
    audit.record(connection, actor, "abandon", before.lease, at=at, before=before.state, after=OperationState.ABANDONED, operation=identifier)
    return get(connection, identifier)


def change(connection: sa.Connection, identifier: str, **values: object) -> None:
    """Set columns of one operation."""
    connection.execute(CHANGE, {"identifier": identifier, **values})


def note(connection: sa.Connection, operation: Operation, before: str, after: str, at: float, summary: str = "") -> None:
    """Leave a line in the audit."""
    told = f"{after}: {summary}" if summary else after
    audit.record(connection, operation.actor, operation.verb, operation.lease, at=at, before=before, after=told, operation=operation.id)
