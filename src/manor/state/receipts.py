"""Receipts: the proof that belongs to an operation; only ever added to."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from manor.errors import UsageError
from manor.state import rows, tables


@dataclass(frozen=True)
class ReceiptRow:
    """A receipt; `body` is its JSON."""

    operation: str
    environment: str
    service: str
    release: str
    lost: int
    body: str
    created_at: float


def add(connection: sa.Connection, receipt: ReceiptRow) -> None:
    """Write a receipt; the same one again changes nothing. Raises UsageError if the operation has another one already."""
    there = find(connection, receipt.operation)
    if there is None:
        connection.execute(tables.receipts.insert().values(**vars(receipt)))
    elif there.body != receipt.body:
        raise UsageError(f"operation {receipt.operation} has a receipt already, and a receipt is never changed")


def find(connection: sa.Connection, operation: str) -> ReceiptRow | None:
    """Return the receipt of an operation, or None."""
    return rows.first_of(connection, sa.select(tables.receipts).where(tables.receipts.c.operation == operation), ReceiptRow)


def recent(connection: sa.Connection, environment: str | None = None, service: str | None = None, limit: int = 20) -> tuple[ReceiptRow, ...]:
    """Return receipts, newest first."""
    table = tables.receipts
    query = sa.select(table).order_by(table.c.created_at.desc()).limit(limit)
    if environment is not None:
        query = query.where(table.c.environment == environment)
    if service is not None:
        query = query.where(table.c.service == service)
    return rows.all_of(connection, query, ReceiptRow)
