"""An operation goes all the way, fails, reverts, pauses and goes on."""

from __future__ import annotations

from manor.operations.planning import create
from manor.state.operations import NewOperation
from manor.state.store import Store
from manor.state.words import OperationState
from tests.operations.model import KINDS, World, chain, run

SHIP = NewOperation("ship", "prod", "shop", actor="ann")


async def test_all_steps_are_done_in_order(store: Store) -> None:
    world = World()
    operation = await create(store, SHIP, chain(3), KINDS)
    result = await run(store, operation.id, world)
    assert result.operation.state is OperationState.DONE
    assert world.cells == {f"prod/web-{n}": "new" for n in (1, 2, 3)}
    assert [step.evidence for step in result.steps] == ["set to new"] * 3
