"""The executor is killed at every boundary that the journal has; whoever comes next ends where it should have ended.

The boundaries are counted by running, so a new kind of step or a new boundary is killed without a new test (docs/crash-testing.md).
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manor.errors import CommandFailed
from manor.operations.planning import Result, create, standing
from manor.operations.step import Planned
from manor.state import journal, operations
from manor.state.journal import StepRow
from manor.state.operations import NewOperation, Operation
from manor.state.store import Store
from manor.state.words import JournalEvent, OperationState, Outcome
from tests.operations.model import KINDS, DyingStore, KillAt, Killed, SetCell, SetCellBack, World, chain, run

PIDS = itertools.count(1)
SHIP = NewOperation("ship", "prod", "shop")


async def back(_operation: Operation, _failed: Sequence[StepRow], world: World) -> list[Planned[World]]:
    done = sorted(host for host, value in world.cells.items() if value == "new")
    return [Planned(n, SetCell(host=host, before="new", after=""), key=f"back-{host}") for n, host in enumerate(done)]


async def run_killed(store: Store, world: World, steps: Sequence[Planned[World]], kills: Sequence[int]) -> Result:
    """Run, killed at each of these boundaries of each attempt (0: not at all), then to the end."""
    operation = await create(store, SHIP, steps, KINDS)
    for boundary in (*kills, 0):
        with contextlib.suppress(Killed):
            await run(store, operation.id, world, pid=next(PIDS), chaos=KillAt(boundary), on_failure=back)
        if (await standing(store, operation.id)).operation.state.is_final:
            break
    return await standing(store, operation.id)


async def count_boundaries(store: Store, world: World, steps: Sequence[Planned[World]]) -> int:
    """Return how many boundaries the operation has."""
    counter = KillAt()
    operation = await create(store, SHIP, steps, KINDS)
    await run(store, operation.id, world, chaos=counter, on_failure=back, pid=next(PIDS))
    return counter.passed


def require_sound(store: Store, result: Result) -> None:
    """Every step has an end, every act an intent before it, and no step was begun again after its end."""
    assert all(step.outcome is not Outcome.PENDING for step in result.steps)
    ended: set[int] = set()
    begun: set[int] = set()
    for line in store.read_now(journal.history, result.operation.id):
        assert line.seq not in ended, "something happened to a step after its end"
        if line.event is JournalEvent.INTENT:
            begun.add(line.seq)
        else:
            assert line.event in (JournalEvent.SKIPPED, JournalEvent.COMPENSATED) or line.seq in begun
            ended |= {line.seq} if line.event is not JournalEvent.COMPENSATED else set()


@pytest.mark.parametrize(("count", "width"), [(1, 1), (5, 1), (4, 2), *(pytest.param(count, 1, marks=pytest.mark.thorough) for count in (2, 10, 30))])
async def test_killed_at_every_boundary_it_is_done_in_the_end_and_each_act_once(store: Store, count: int, width: int) -> None:
    boundaries = await count_boundaries(store, World(), chain(count, width))
    assert boundaries == 4 * count
    for boundary in range(1, boundaries + 1):
        world = World()
        result = await run_killed(store, world, chain(count, width), [boundary])
        assert result.operation.state is OperationState.DONE
        assert world.cells == {f"prod/web-{n + 1}": "new" for n in range(count)}
        assert len(world.acts) == count, "an act was repeated although its postcondition held"
        require_sound(store, result)


async def run_dying(store: Store, world: World, steps: Sequence[Planned[World]], n: int, *, is_after: bool) -> tuple[Result, int]:
    """Run with an executor that dies at its n-th write, then with one that lives; return the end and how many writes the first had."""
    operation = await create(store, SHIP, steps, KINDS)
    with DyingStore.open(store.folder.path, store.clock) as dying:
        dying.n, dying.is_after = n, is_after
        with contextlib.suppress(Killed):
            await run(dying, operation.id, world, pid=next(PIDS), on_failure=back)
    if not (await standing(store, operation.id)).operation.state.is_final:
        await run(store, operation.id, world, pid=next(PIDS), on_failure=back)
    return await standing(store, operation.id), dying.writes


@pytest.mark.parametrize(
    ("failing", "width", "expected"), [(False, 2, OperationState.DONE), (True, 1, OperationState.REVERTED), (True, 2, OperationState.REVERTED)]
)
@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.thorough)])
async def test_killed_before_and_after_every_write(store: Store, failing: bool, width: int, expected: OperationState, every: int) -> None:
    def world() -> World:
        return World(failing={"prod/web-4": CommandFailed("exit 1", 1)} if failing else {})

    _, writes = await run_dying(store, world(), chain(5, width), 0, is_after=False)
    assert writes > 10
    for n in range(1, writes + 1, every):
        for is_after in (False, True):
            now = world()
            result, _ = await run_dying(store, now, chain(5, width), n, is_after=is_after)
            assert result.operation.state is expected
            assert set(now.cells.values()) == {"" if failing else "new"}
            assert len(set(now.acts)) == len(now.acts)
            require_sound(store, result)


async def test_killed_at_every_boundary_of_a_failing_operation_it_is_reverted_in_the_end(store: Store) -> None:
    error = CommandFailed("exit 1", 1)
    boundaries = await count_boundaries(store, World(failing={"prod/web-4": error}), chain(6))
    for boundary in range(1, boundaries + 1):
        world = World(failing={"prod/web-4": error})
        result = await run_killed(store, world, chain(6), [boundary])
        assert result.operation.state is OperationState.REVERTED
        assert set(world.cells.values()) == {""}
        require_sound(store, result)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 8), width=st.integers(1, 4), failing=st.integers(0, 9), kills=st.lists(st.integers(1, 32), max_size=6))
async def test_killed_again_and_again_it_ends_as_it_should(store: Store, count: int, width: int, failing: int, kills: list[int]) -> None:
    fails = {f"prod/web-{failing}": CommandFailed("exit 1", 1)} if failing else {}
    world = World(failing=dict[str, Exception](fails))
    result = await run_killed(store, world, chain(count, width), kills)
    require_sound(store, result)
    if 1 <= failing <= count:
        assert (result.operation.state, set(world.cells.values()) <= {""}) == (
            OperationState.REVERTED if len(result.steps) > count else OperationState.FAILED,
            True,
        )
    else:
        assert (result.operation.state, len(world.acts)) == (OperationState.DONE, count)


async def test_half_done_and_it_can_be_taken_back(store: Store) -> None:
    world = World(half_done={"prod/web-2"})
    result = await run_killed(store, world, chain(3, kind=SetCellBack), [0])
    assert (result.operation.state, set(world.cells.values())) == (OperationState.DONE, {"new"})
    assert JournalEvent.COMPENSATED in {line.event for line in store.read_now(journal.history, result.operation.id)}


async def test_half_done_killed_again_after_taking_it_back(store: Store) -> None:
    world = World(half_done={"prod/web-1"})
    operation = await create(store, SHIP, chain(1, kind=SetCellBack), KINDS)
    for pid, boundary in enumerate((0, 1, 1, 0), start=1):  # the first boundary of a recovery is the one after compensation, then the one before intent
        with contextlib.suppress(Killed):
            await run(store, operation.id, world, pid=pid, chaos=KillAt(boundary))
    assert (await standing(store, operation.id)).operation.state is OperationState.DONE
    assert world.cells == {"prod/web-1": "new"}


async def test_half_done_and_it_can_not_be_taken_back_pauses_with_a_diagnosis(store: Store) -> None:
    world = World(half_done={"prod/web-2"})
    operation = await create(store, SHIP, chain(3), KINDS)
    with pytest.raises(Killed):
        await run(store, operation.id, world)
    result = await run(store, operation.id, world, pid=2)
    assert result.operation.state is OperationState.PAUSED
    assert result.operation.summary == (
        "step 2 (set-cell on prod/web-2) was begun and is neither done nor as before: is 'half'; this kind of step can't be taken back"
    )
    world.cells["prod/web-2"] = ""  # a person mends it
    assert (await run(store, operation.id, world, pid=3)).operation.state is OperationState.DONE


async def test_the_executor_knows_nothing_that_is_not_in_the_file(store: Store, tmp_path: Path) -> None:
    world = World()
    operation = await create(store, SHIP, chain(3), KINDS)
    with contextlib.suppress(Killed):
        await run(store, operation.id, world, chaos=KillAt(6))
    store.close()
    with Store.open(store.folder.path, store.clock) as other:
        assert (await run(other, operation.id, world, pid=2)).operation.state is OperationState.DONE
        assert other.read_now(operations.get, operation.id).token == 2
