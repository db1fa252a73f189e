"""Receipts: the proof that belongs to an operation; only ever added to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from manor.errors import UsageError
from manor.state import rows, tables
from manor.state.operations import Operation
from manor.state.words import FINAL


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


def keep_first(connection: sa.Connection, receipt: ReceiptRow) -> ReceiptRow:
    """Write a receipt unless the operation has one, and return the one that it has: two that end the same operation write it once."""
    there = find(connection, receipt.operation)
    if there is None:
        add(connection, receipt)
    return there or receipt


def missing(connection: sa.Connection, verbs: Sequence[str]) -> tuple[Operation, ...]:
    """Return the ended operations of these verbs that have no receipt, oldest first: their executor died between the end and the receipt."""
    table = tables.operations
    written = sa.select(tables.receipts.c.operation)
    query = sa.select(table).where(table.c.verb.in_(verbs) & table.c.state.in_(FINAL) & table.c.id.not_in(written))
    return rows.all_of(connection, query.order_by(table.c.ended_at, table.c.id), Operation)


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
