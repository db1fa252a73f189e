"""What was done to what by whom; only ever added to.

Invariant: triggers refuse update and delete (docs/state.md), so a line that was read once is there for ever.
"""

from __future__ import annotations

from collections.abc import Container
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


def lines(
    connection: sa.Connection,
    *,
    object: str | None = None,  # noqa: A002 -- the column's name
    operation: str | None = None,
    verb: str | None = None,
    after: int = 0,
    limit: int = 1000,
) -> tuple[AuditRow, ...]:
    """Return lines with a seq above `after`, oldest first; of one object, operation or verb if given."""
    query = sa.select(tables.audit).where(tables.audit.c.seq > after).order_by(tables.audit.c.seq).limit(limit)
    if object is not None:
        query = query.where(tables.audit.c.object == object)
    if operation is not None:
        query = query.where(tables.audit.c.operation == operation)
    if verb is not None:
        query = query.where(tables.audit.c.verb == verb)
    return rows.all_of(connection, query, AuditRow)


def of_verb(connection: sa.Connection, verb: str, objects: Container[str]) -> dict[str, tuple[AuditRow, ...]]:
    """Return the lines that a verb wrote about these objects, by object, oldest first."""
    found: dict[str, tuple[AuditRow, ...]] = {}
    for row in rows.all_of(connection, sa.select(tables.audit).where(tables.audit.c.verb == verb).order_by(tables.audit.c.seq), AuditRow):
        if row.object in objects:
            found[row.object] = (*found.get(row.object, ()), row)
    return found
