"""What was done to what by whom; only ever added to.

Invariant: triggers refuse update and delete (docs/state.md), so a line that was read once is there for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from manor.state import rows, tables

MOST_ASKED = 10_000
"""So many objects fit into one query: SQLite takes 32,766 values."""


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


def of_verb(connection: sa.Connection, verb: str, objects: Iterable[str]) -> dict[str, tuple[AuditRow, ...]]:
    """Return the lines that a verb wrote about these objects, by object, oldest first."""
    wanted, found = sorted(set(objects)), dict[str, tuple[AuditRow, ...]]()
    for start in range(0, len(wanted), MOST_ASKED):
        asked = tables.audit.c.object.in_(wanted[start : start + MOST_ASKED])
        query = sa.select(tables.audit).where(tables.audit.c.verb == verb, asked).order_by(tables.audit.c.seq)
        for row in rows.all_of(connection, query, AuditRow):
            found[row.object] = (*found.get(row.object, ()), row)
    return found
