"""How many rows each table holds, for people."""

from __future__ import annotations

import sqlalchemy as sa

from manor.state import tables

COUNTED = (
    tables.operations,
    tables.releases,
    tables.artifacts,
    tables.receipts,
    tables.certifications,
    tables.runs,
    tables.tokens,
    tables.audit,
)


def count_rows(connection: sa.Connection) -> tuple[tuple[str, int], ...]:
    """Return table and number of rows."""
    return tuple((table.name, int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())) for table in COUNTED)
