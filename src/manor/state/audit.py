"""What was done to what by whom; only ever added to.

Invariant: triggers refuse update and delete (docs/state.md), so a line that was read once is there for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from manor.state import rows, tables


@dataclass(frozen=True)
class AuditRow:
    """One line."""

    seq: int
    at: float
    actor: str
    verb: str
    object: str
    before: str
    after: str
    operation: str


def record(connection: sa.Connection, actor: str, verb: str, object: str, *, at: float, before: str = "", after: str = "", operation: str = "") -> None:  # noqa: A002 -- the column's name
    """Add a line, in the transaction of what it speaks of."""
    connection.execute(tables.audit.insert().values(at=at, actor=actor, verb=verb, object=object, before=before, after=after, operation=operation))


def lines(connection: sa.Connection, *, object: str | None = None, operation: str | None = None, after: int = 0, limit: int = 1000) -> tuple[AuditRow, ...]:  # noqa: A002 -- the column's name
    """Return lines with a seq above `after`, oldest first; of one object or operation if given."""
    query = sa.select(tables.audit).where(tables.audit.c.seq > after).order_by(tables.audit.c.seq).limit(limit)
    if object is not None:
        query = query.where(tables.audit.c.object == object)
    if operation is not None:
        query = query.where(tables.audit.c.operation == operation)
    return rows.all_of(connection, query, AuditRow)
