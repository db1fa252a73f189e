"""Who leaves at once is told what is left half-way, who goes on with it, and how to stop that."""

from __future__ import annotations

import pytest

from manor.operations.leasing import hold
from manor.state import deliveries, operations
from manor.state.deliveries import Wish
from manor.state.operations import NewOperation
from manor.workflows import leaving
from manor.workflows.context import Context
from manor.workflows.controlling import RunningController
from manor.workflows.leaving import left_behind


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "noted_controller", lambda _context: RunningController("http://127.0.0.1:7080", 4711, 1))


async def begun(context: Context, delivery: str = "", verb: str = "ship", environment: str = "prod", service: str = "shop") -> str:
    """Write an operation down; return its id."""
    new = NewOperation(verb, environment, service, delivery=delivery)
    return (await context.store.write(operations.create, new, at=1.0)).id


async def test_nothing_was_begun(context: Context) -> None:
    assert left_behind(context) == ("left at once; nothing is half done",)


OF_SHOP = "does the next `manor ship`, `manor promote` or `manor service restart` of shop there; `manor rollback shop -e prod`"
OF_PROD = "do, while the estate is the same, `manor apply -e prod`, `manor up -e prod` and the next verb on a service there"


@pytest.mark.parametrize(
    ("verb", "service", "onward"),
    [
        ("ship", "shop", f"{OF_SHOP} turns it round"),
        ("restart", "shop", f"{OF_SHOP} turns it round"),
        ("rollback", "shop", f"{OF_SHOP} goes on with it too"),
        ("remove", "shop", "does `manor service remove shop -e prod`"),
        ("apply", "", OF_PROD),
        ("down", "", "do `manor down -e prod` and `manor up -e prod`"),
    ],
)
async def test_without_a_controller_a_person_goes_on(context: Context, verb: str, service: str, onward: str) -> None:
    operation = await begun(context, verb=verb, service=service)
    where = f"prod/{service}" if service else "prod"
    async with hold(context.store, where, operation):
        assert left_behind(context) == (
            f"left at once: {verb} {where} ({operation}) is half done",
            f"nobody goes on with it by itself: `manor resume {operation}` does, and so {onward}; `manor abandon {operation} --reason …` gives it up",
        )


async def test_every_piece_of_work_is_told(context: Context) -> None:
    """As an `up` of several environments leaves them."""
    first, second = await begun(context, verb="apply", environment="dev", service=""), await begun(context, verb="apply", service="")
    async with hold(context.store, "dev", first), hold(context.store, "prod", second):
        told = left_behind(context)
    assert {line.partition(":")[2] for line in told[::2]} == {f" apply dev ({first}) is half done", f" apply prod ({second}) is half done"}
    assert len(told) == 4


async def test_a_delivery_is_told_as_the_operation_that_it_is_at(context: Context) -> None:
    row = await context.store.write(deliveries.write_down, Wish("ship", "shop", "a" * 64, "dev", actor="ada"), at=1.0)
    operation = await begun(context, row.id)
    async with hold(context.store, row.lease), hold(context.store, "prod/shop", operation):
        first, _ = left_behind(context)
    assert first == f"left at once: ship prod/shop ({operation}) is half done"


async def test_between_two_environments_the_next_ship_goes_on(context: Context) -> None:
    row = await context.store.write(deliveries.write_down, Wish("ship", "shop", "a" * 64, "dev", actor="ada"), at=1.0)
    async with hold(context.store, row.lease):
        _, second = left_behind(context)
    assert "and so do the same verb once more and the next `manor ship` or `manor promote` of shop;" in second


@pytest.mark.usefixtures("controller")
@pytest.mark.parametrize(("delivery", "onward"), [("", ""), ("a-delivery", ", and into the environments that follow")])
async def test_a_controller_goes_on_and_how_to_stop_it(context: Context, delivery: str, onward: str) -> None:
    operation = await begun(context, delivery)
    async with hold(context.store, "prod/shop", operation):
        assert left_behind(context)[1] == (
            f"the controller (pid 4711) goes on with it{onward}; to stop that: `kill 4711`, then `manor abandon {operation} --reason …`"
        )


@pytest.mark.usefixtures("controller")
async def test_between_two_environments_the_delivery_is_what_is_left(context: Context) -> None:
    row = await context.store.write(deliveries.write_down, Wish("ship", "shop", "a" * 64, "dev", actor="ada"), at=1.0)
    async with hold(context.store, row.lease):
        first, second = left_behind(context)
    assert first == f"left at once: ship shop to dev ({row.id}) is half done"
    assert f"`manor abandon {row.id} --reason …`" in second
