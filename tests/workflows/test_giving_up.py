"""What is given up leaves no probe, no needless maintenance page, and a receipt; a receipt that is missing is written later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from manor.errors import ApplyFailed, InvalidEstate, Unreachable
from manor.estate.model import Health, RolloutRules
from manor.operations.events import Event
from manor.operations.leasing import hold
from manor.operations.planning import Result, create, standing
from manor.operations.step import Here
from manor.rollout.composing import ENDS
from manor.rollout.plan import InstanceNow, RolloutOrder, plan_rollout
from manor.rollout.receipt import Receipt, parse_receipt
from manor.state import deliveries, operations, receipts, tables
from manor.state.operations import NewOperation, Operation
from manor.state.words import OperationState, Outcome
from manor.workflows import abandoning, delivery
from manor.workflows import receipts as receipts_of_rollouts
from manor.workflows.abandoning import abandon_operation
from manor.workflows.context import Context
from manor.workflows.probing import LocalProber
from manor.workflows.receipts import write_missing_receipts, write_receipt
from manor.workflows.rolling import ORDER, ROLLOUT_KINDS
from manor.workflows.snapshots import keep_estate

CASE = Path(__file__).parents[1] / "rollout" / "receipt" / "cases" / "rolling_nothing_lost" / "receipt.json"
RULES = RolloutRules(strategy="interrupt", longest_outage="30s")


class Seen:
    """What was done to the world."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.pages: list[bool] = []
        self.estates: list[str] = []
        self.said: list[str] = []

    def tell(self, event: Event) -> None:
        self.said.append(event.text)

    async def set_maintenance(self, _service: str, _here: Here, *, on: bool) -> None:
        self.pages.append(on)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    seen = Seen()

    async def end(_prober: LocalProber, operation: str) -> None:
        seen.ended.append(operation)

    async def make(context: Context, result: Result) -> Receipt:
        seen.estates.append(context.estate.digest)
        return replace(parse_receipt(CASE.read_text()), operation=result.operation.id, state=ENDS[result.operation.state])

    async def fleet(_context: Context, _operation: Operation) -> SimpleNamespace:
        return SimpleNamespace(fleet=seen)

    monkeypatch.setattr(LocalProber, "end", end)
    monkeypatch.setattr(receipts_of_rollouts, "make_receipt", make)
    monkeypatch.setattr(receipts_of_rollouts, "LOG_FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(abandoning, "resumed_rollout", fleet)
    return seen


async def rollout(context: Context, begun: int = 0, *, state: OperationState | None = None, digest: str = "") -> Operation:
    """Return an operation whose first `begun` steps are done, and the one after them begun."""
    order = RolloutOrder("shop", "0123456789ab", (InstanceNow("all-1", "a", "ba9876543210"),), RULES, Health(http="/healthz"), 1.0, 0.0)
    new = NewOperation("ship", "dev", "shop", "ada", ORDER.dump_json(order).decode(), digest or context.estate.digest)
    operation = await create(context.store, new, plan_rollout(order), ROLLOUT_KINDS)
    mine = tables.steps.c.operation == operation.id

    def mark(connection: sa.Connection) -> None:
        first = sa.select(sa.func.min(tables.steps.c.seq)).where(mine).scalar_subquery()
        connection.execute(tables.steps.update().where(mine & (tables.steps.c.seq < first + begun)).values(intent_at=1.0, outcome=Outcome.OK))
        connection.execute(tables.steps.update().where(mine & (tables.steps.c.seq == first + begun)).values(intent_at=1.0))
        if state is not None:
            operations.change(connection, operation.id, state=state, ended_at=2.0)

    await context.store.write(mark)
    return await context.store.read(operations.get, operation.id)


def place_of(kind: str, nth: int = 0) -> int:
    """Return the place of a step in the plan of an interruption."""
    order = RolloutOrder("shop", "0123456789ab", (InstanceNow("all-1", "a", "ba9876543210"),), RULES, Health(http="/healthz"), 1.0, 0.0)
    return [place for place, planned in enumerate(plan_rollout(order)) if planned.step.kind == kind][nth]


async def abandon(context: Context, operation: Operation, seen: Seen) -> receipts.ReceiptRow:
    await abandon_operation(context, operation, "enough", "ada", seen.tell)
    row = await context.store.read(receipts.find, operation.id)
    assert row is not None
    return row


async def test_what_is_abandoned_has_its_probe_ended_and_a_receipt(opened: Context, seen: Seen) -> None:
    operation = await rollout(opened, place_of("maintenance"), state=None)
    row = await abandon(opened, operation, seen)
    assert operation.id in seen.ended
    assert parse_receipt(row.body).state == "abandoned"
    assert (await opened.store.read(operations.get, operation.id)).state is OperationState.ABANDONED


@pytest.mark.parametrize(
    ("begun", "pages"),
    [
        (place_of("maintenance") - 1, []),
        (place_of("maintenance"), [False]),
        (place_of("maintenance") + 1, []),
        (place_of("maintenance", 1) - 1, []),
        (place_of("maintenance", 1), [False]),
        (place_of("maintenance", 1) + 1, []),
    ],
)
async def test_the_page_goes_unless_something_is_half_replaced(begun: int, pages: list[bool], opened: Context, seen: Seen) -> None:
    await abandon(opened, await rollout(opened, begun), seen)
    assert seen.pages == pages


async def test_what_fails_on_the_way_is_told_and_hinders_nothing(opened: Context, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unreachable(*_: object, **_more: object) -> None:
        raise Unreachable("no answer")

    monkeypatch.setattr(LocalProber, "end", unreachable)
    monkeypatch.setattr(Seen, "set_maintenance", unreachable)
    operation = await rollout(opened, place_of("maintenance"))
    assert (await abandon_operation(opened, operation, "enough", "ada", seen.tell)).state is OperationState.ABANDONED
    assert [text.count("no answer") for text in seen.said] == [1, 1, 1]


async def test_a_receipt_that_a_crash_prevented_is_written_once(opened: Context, seen: Seen) -> None:
    ended = await rollout(opened, 2, state=OperationState.FAILED)
    await rollout(opened, 2)
    assert await write_missing_receipts(opened) == [f"wrote the missing receipt of ship dev/shop, operation {ended.id}"]
    assert seen.ended == [ended.id]
    assert await write_missing_receipts(opened) == []


async def test_a_receipt_is_left_to_who_has_just_ended_the_operation(opened: Context, seen: Seen) -> None:
    ended = await rollout(opened, 2, state=OperationState.DONE)
    await opened.store.write(lambda connection: operations.change(connection, ended.id, ended_at=opened.store.clock.now()))
    assert await write_missing_receipts(opened, settled_seconds=30.0) == []
    assert len(await write_missing_receipts(opened, settled_seconds=0.0)) == 1


async def test_a_receipt_is_left_to_who_carries_the_delivery_on(opened: Context, seen: Seen) -> None:
    ended = await rollout(opened, 2, state=OperationState.DONE)
    await opened.store.write(lambda connection: operations.change(connection, ended.id, delivery="a-delivery"))
    async with hold(opened.store, deliveries.lease_name("a-delivery")):
        assert await write_missing_receipts(opened) == []
    assert len(await write_missing_receipts(opened)) == 1


async def test_two_that_end_the_same_operation_write_one_receipt(opened: Context, seen: Seen) -> None:
    ended = await rollout(opened, 2, state=OperationState.DONE)
    first = await write_receipt(opened, await standing(opened.store, ended.id))
    assert await opened.store.write(receipts.keep_first, replace(first, body="{}")) == first


async def test_a_receipt_is_written_under_the_estate_of_its_rollout(opened: Context, seen: Seen) -> None:
    keep_estate(opened)
    ended = await rollout(opened, 2, state=OperationState.DONE)
    now = replace(opened, estate=opened.estate.model_copy(update={"digest": "f" * 64}))
    await write_receipt(now, await standing(opened.store, ended.id))
    assert seen.estates == [opened.estate.digest]


async def test_no_receipt_hides_how_the_rollout_ended(opened: Context, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_context: Context, _result: Result) -> Receipt:
        raise InvalidEstate(["extra: there is no such file"])

    monkeypatch.setattr(receipts_of_rollouts, "make_receipt", broken)
    turned = await rollout(opened, 2, state=OperationState.REVERTED)
    with pytest.raises(ApplyFailed, match=r"(?s)0123456789ab.*the receipt of operation .* could not be written: extra"):
        await delivery.finish(opened, "dev", await standing(opened.store, turned.id), "0123456789ab")
    done = await rollout(opened, 2, state=OperationState.DONE)
    delivered = await delivery.finish(opened, "dev", await standing(opened.store, done.id), "0123456789ab")
    assert "could not be written" in delivered.verdict
