"""The operation's deadline is put off by what a step was in vain that begins anew: by whoever holds the lease, and once (docs/operations.md)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from manor.errors import CommandFailed, FencedOff, Paused
from manor.operations.attempt import Attempts
from manor.operations.chaos import no_chaos
from manor.operations.events import silent
from manor.operations.planning import create
from manor.operations.step import Here, Holds, Planned, StepKinds
from manor.state import journal, operations
from manor.state.journal import StepRow
from manor.state.operations import NewOperation, Operation
from manor.state.store import Store
from manor.state.words import OperationState, Outcome
from tests.operations.model import DyingStore, FakeClock, KillAt, Killed, SetCell, World, run, take

GIVEN = 1000.0


@dataclass(frozen=True, kw_only=True)
class Watch(SetCell):
    """Watches, without a gap: interrupted, it begins anew."""

    kind = "watch"
    begins_anew = True

    async def observe(self, ports: World, here: Here) -> Holds:
        return Holds.pre()

    async def act(self, ports: World, here: Here) -> str:
        if self.host in ports.half_done:
            ports.half_done.remove(self.host)
            raise Paused("a person has to look")
        return "watched"


KINDS = StepKinds[World]([Watch, SetCell])


async def begun(store: Store) -> str:
    """Return an operation that watches, then does something, and has so long for both."""
    steps = [Planned(0, Watch(host="a", after="new")), Planned(1, SetCell(host="b", after="new"))]
    return (await create(store, NewOperation("ship", "prod", "shop", deadline=store.clock.now() + GIVEN), steps, KINDS)).id


async def killed_at(store: Store, operation: str, boundary: int, pid: int) -> None:
    with contextlib.suppress(Killed):
        await run(store, operation, World(), pid, chaos=KillAt(boundary), kinds=KINDS)


@pytest.mark.parametrize("second", [1, 2, 3], ids=["before the intent", "after it", "after the act"])
async def test_however_often_it_is_killed_each_time_in_vain_counts_once(store: Store, clock: FakeClock, second: int) -> None:
    began, operation = clock.now(), await begun(store)
    await killed_at(store, operation, 2, 1)
    clock.advance(5000)
    await killed_at(store, operation, second, 2)
    clock.advance(5000)
    result = await run(store, operation, World(), 3, kinds=KINDS)
    assert result.operation.state is OperationState.DONE, "what follows has its time too"
    assert result.operation.deadline == began + GIVEN + 10000


async def test_killed_before_or_after_any_write_it_counts_once(store: Store, clock: FakeClock) -> None:
    for n in range(1, 12):
        for is_after in (False, True):
            began, operation = clock.now(), await begun(store)
            await killed_at(store, operation, 2, 1)
            clock.advance(500)
            with DyingStore.open(store.folder.path, clock) as dying, contextlib.suppress(Killed):
                dying.n, dying.is_after = n, is_after
                await run(dying, operation, World(), 2, kinds=KINDS)
            if not store.read_now(operations.get, operation).state.is_final:
                clock.advance(500)
                was_over = store.read_now(journal.get, operation, 1).outcome is not Outcome.PENDING
                cells = World(cells={"b": "new"} if store.read_now(journal.get, operation, 2).attempt else {})
                await run(store, operation, cells, 3, kinds=KINDS)
                assert store.read_now(operations.get, operation).deadline == began + GIVEN + (500 if was_over else 1000), (n, is_after)


async def test_a_pause_within_it_counts_once(store: Store, clock: FakeClock) -> None:
    began, operation, world = clock.now(), await begun(store), World(half_done={"a"})
    paused = await run(store, operation, world, 1, kinds=KINDS)
    assert (paused.operation.state, paused.steps[0].is_open) == (OperationState.PAUSED, True)
    clock.advance(5000)
    result = await run(store, operation, world, 2, kinds=KINDS)
    assert (result.operation.state, result.operation.deadline) == (OperationState.DONE, began + GIVEN + 5000)


async def test_who_lost_the_lease_moves_no_deadline(store: Store, clock: FakeClock) -> None:
    operation = await begun(store)
    old = take(store, "prod/shop", operation)
    known = store.write_now(operations.begin, operation, old.token, at=clock.now())
    store.write_now(journal.intent, operation, 1, old.token, deadline=clock.now() + 300, at=clock.now())
    clock.advance(100)
    new = take(store, "prod/shop", operation, 2)
    store.write_now(operations.begin, operation, new.token, at=clock.now())
    before = (store.read_now(operations.get, operation), store.read_now(journal.steps, operation))
    attempts = Attempts(store, replace(known), KINDS, World(), old, silent, no_chaos)
    with pytest.raises(FencedOff):
        await attempts.carry_out(before[1][0])
    assert (store.read_now(operations.get, operation), store.read_now(journal.steps, operation)) == before


async def test_who_plans_the_way_back_is_told_the_deadline_that_was_put_off(store: Store, clock: FakeClock) -> None:
    told: list[float | None] = []

    async def note(operation: Operation, _failed: Sequence[StepRow], _world: World) -> None:
        told.append(operation.deadline)

    began, operation = clock.now(), await begun(store)
    await killed_at(store, operation, 2, 1)
    clock.advance(5000)
    await run(store, operation, World(failing={"b": CommandFailed("exit 1", 1)}), 2, on_failure=note, kinds=KINDS)
    assert told == [began + GIVEN + 5000]
