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


async def begun(context: Context, delivery: str = "") -> str:
    """Write an operation down; return its id."""
    new = NewOperation("ship", "prod", "shop", delivery=delivery)
    return (await context.store.write(operations.create, new, at=1.0)).id


async def test_nothing_was_begun(context: Context) -> None:
    assert left_behind(context) == ("left at once; nothing is half done",)


async def test_without_a_controller_a_person_goes_on(context: Context) -> None:
    operation = await begun(context)
    async with hold(context.store, "prod/shop", operation):
        assert left_behind(context) == (
            f"left at once: ship prod/shop ({operation}) is half done",
            f"nobody goes on with it: `manor resume {operation}` does, `manor abandon {operation} --reason …` gives it up",
        )


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
