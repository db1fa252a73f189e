"""Deliveries: the intention that an artifact goes on through environments, kept from before the first until after the last.

Invariant: of one wish at most one delivery is unfinished; who carries it out holds its lease, `delivery:<id>`.
Functions take a connection within a transaction of `Store.write` or `Store.read`.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from manor.errors import Busy, UsageError
from manor.state import audit, leases, operations, rows, tables
from manor.state.holder import Holder, is_gone
from manor.state.leases import IsGone
from manor.state.words import DeliveryState

UNFINISHED = (DeliveryState.OPEN, DeliveryState.PAUSED)


@dataclass(frozen=True)
class Wish:
    """What somebody wants delivered."""

    verb: str
    service: str
    artifact: str
    start: str
    """The environment that it enters first."""
    to: str = ""
    """The last one; empty: as far as the gates let it."""
    actor: str = ""
    again: str = ""
    """Why a release that failed before is delivered once more."""
    run: str = ""
    """The pipeline's run that sees to it; empty: none does."""

    @property
    def what(self) -> tuple[str, ...]:
        """What makes it the same wish, whoever has it and why."""
        return self.verb, self.service, self.artifact, self.start, self.to


@dataclass(frozen=True)
class Delivery:
    """A delivery as it stands."""

    id: str
    verb: str
    service: str
    artifact: str
    start: str
    to: str
    again: str
    actor: str
    run: str
    environment: str
    """The one that it was last about to enter."""
    state: DeliveryState
    summary: str
    created_at: float
    ended_at: float | None

    @property
    def wish(self) -> Wish:
        """What is wanted."""
        return Wish(self.verb, self.service, self.artifact, self.start, self.to, self.actor, self.again, self.run)

    @property
    def lease(self) -> str:
        """The name of the lease under which it is carried out."""
        return lease_name(self.id)


def lease_name(identifier: str) -> str:
    """Return the lease of a delivery; no environment's name has a colon."""
    return f"delivery:{identifier}"


def write_down(connection: sa.Connection, wish: Wish, *, at: float) -> Delivery:
    """Write a delivery down that is carried out later; the same wish has the same delivery while that is unfinished."""
    same = find_same(connection, wish)
    return begin(connection, same.id if same else operations.new_id(at), wish, at=at)


def begin(connection: sa.Connection, identifier: str, wish: Wish, *, at: float) -> Delivery:
    """Write a delivery down, or open the one of this id again; what was paused before it of the service gives way. Raises Busy if another has the same wish."""
    same = find_same(connection, wish)
    if same is not None and same.id != identifier:
        raise Busy(f"{wish.service}: the same artifact is on its way already, delivery {same.id}; `manor status` shows it")
    for older in unfinished(connection, wish.service):
        if older.state is DeliveryState.PAUSED and older.id != identifier and wish.to in ("", older.to) and not has_unfinished_operation(connection, older.id):
            end(connection, older.id, DeliveryState.SUPERSEDED, f"delivery {identifier} was begun after it", at=at)
    if same is not None:
        return reopen(connection, identifier, again=wish.again or same.again)
    values = {**vars(wish), "id": identifier, "environment": wish.start, "state": DeliveryState.OPEN, "created_at": at}
    connection.execute(tables.deliveries.insert().values(**values))
    return get(connection, identifier)


def get(connection: sa.Connection, identifier: str) -> Delivery:
    """Return a delivery. Raises UsageError if there is none of that id."""
    found = rows.first_of(connection, sa.select(tables.deliveries).where(tables.deliveries.c.id == identifier), Delivery)
    if found is None:
        raise UsageError(f"there is no delivery {identifier!r}; `manor status` lists them")
    return found


def unfinished(connection: sa.Connection, service: str = "") -> tuple[Delivery, ...]:
    """Return open and paused deliveries, of one service if named, oldest first."""
    table = tables.deliveries
    query = sa.select(table).where(table.c.state.in_(UNFINISHED)).order_by(table.c.created_at, table.c.id)
    return rows.all_of(connection, query.where(table.c.service == service) if service else query, Delivery)


def find_same(connection: sa.Connection, wish: Wish) -> Delivery | None:
    """Return the unfinished delivery of the same wish, or None."""
    return next((one for one in unfinished(connection, wish.service) if one.wish.what == wish.what), None)


def orphans(connection: sa.Connection, me: Holder, now: float, is_gone: IsGone = is_gone) -> tuple[Delivery, ...]:
    """Return the open deliveries that nobody carries out, oldest first."""
    held = {lease.name for lease in leases.standing(connection) if leases.is_held(lease, me, now, is_gone)}
    return tuple(one for one in unfinished(connection) if one.state is DeliveryState.OPEN and one.lease not in held)


def has_unfinished_operation(connection: sa.Connection, identifier: str) -> bool:
    """Tell whether a delivery was stopped within an environment and not between two."""
    last = operations.last_of_delivery(connection, identifier)
    return last is not None and not last.state.is_final


def enter(connection: sa.Connection, identifier: str, environment: str) -> None:
    """Write which environment comes now."""
    change(connection, identifier, environment=environment)


def reopen(connection: sa.Connection, identifier: str, again: str = "") -> Delivery:
    """Go on with a paused one. Raises UsageError if it has ended."""
    found = get(connection, identifier)
    if found.state.is_final:
        raise UsageError(f"delivery {identifier} has ended: {found.state}{': ' if found.summary else ''}{found.summary}")
    change(connection, identifier, state=DeliveryState.OPEN, summary="", again=again or found.again)
    return get(connection, identifier)


def end(connection: sa.Connection, identifier: str, state: DeliveryState, summary: str, *, at: float, actor: str = "") -> Delivery:
    """Write how it ended, or that it is paused; one that has ended stays as it is."""
    before = get(connection, identifier)
    if before.state.is_final:
        return before
    change(connection, identifier, state=state, summary=summary, ended_at=at if state.is_final else None)
    about = f"delivery/{before.service}"
    audit.record(connection, actor or before.actor, before.verb, about, at=at, before=before.state, after=f"{state}: {summary}" if summary else state)
    return get(connection, identifier)


def change(connection: sa.Connection, identifier: str, **values: object) -> None:
    """Set columns of one delivery."""
    connection.execute(tables.deliveries.update().where(tables.deliveries.c.id == identifier).values(**values))
