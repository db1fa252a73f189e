"""Finds the receipt that a person means."""

from __future__ import annotations

from manor.errors import UsageError
from manor.rollout.receipt import Receipt, parse_receipt
from manor.rollout.receipt_text import verdict
from manor.state import receipts
from manor.state.receipts import ReceiptRow
from manor.workflows.context import Context


async def find_receipt(context: Context, named: str, environment: str = "") -> ReceiptRow:
    """Return the receipt of an operation, or the last one of a service. Raises UsageError."""
    found = await context.store.read(receipts.find, named)
    if found is not None:
        return found
    last = await context.store.read(receipts.recent, environment or None, named, 1)
    if last:
        return last[0]
    if environment:
        context.environment(environment)
    where = f" in {environment}" if environment else ""
    raise UsageError(f"there is no receipt of an operation or service {named!r}{where}; `manor receipt` lists the last ones")


async def last_receipts(context: Context, environment: str, limit: int) -> tuple[ReceiptRow, ...]:
    """Return the last receipts, newest first. Raises UsageError for an environment that is not declared and has none."""
    found = await context.store.read(receipts.recent, environment or None, None, limit)
    if environment and not found:
        context.environment(environment)
    return found


async def verdict_of(context: Context, operation: str) -> str:
    """Return the one sentence of an operation's receipt; empty: it has none."""
    found = await context.store.read(receipts.find, operation)
    return verdict(receipt_of(found)) if found else ""


def receipt_of(row: ReceiptRow) -> Receipt:
    """Return what a row holds."""
    return parse_receipt(row.body)
