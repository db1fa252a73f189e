"""Holding a lease: waiting, renewing, losing it; and going on with what a dead executor left."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from manor.errors import Busy, FencedOff, ManorError
from manor.operations.adoption import adopt, find_orphans
from manor.operations.engine import execute
from manor.operations.fencing import admit
from manor.operations.leasing import hold
from manor.operations.planning import Result, create
from manor.state import leases
from manor.state.leases import Lease
from manor.state.operations import NewOperation, Operation
from manor.state.store import Store
from manor.state.words import OperationState
from tests.operations.model import KINDS, FakeClock, KillAt, Killed, World, chain, gone_but, holder, run, take

SHIP = NewOperation("ship", "prod", "shop")


def nobody_gone(_holder: object, _me: object) -> bool:
    return False


async def test_it_is_held_for_the_body_and_let_go_after_it(store: Store) -> None:
    async with hold(store, "prod/shop", "op-1") as lease:
        assert [(kept.name, kept.operation, kept.token) for kept in store.read_now(leases.standing)] == [("prod/shop", "op-1", lease.token)]
    assert store.read_now(leases.standing) == ()


async def test_it_says_for_which_operation_it_is_held_once_that_is_known(store: Store) -> None:
    async with hold(store, "prod/shop") as lease:
        operation = await create(store, SHIP, chain(1), KINDS)
        await execute(store, operation.id, World(), KINDS, lease)
        assert [kept.operation for kept in store.read_now(leases.standing)] == [operation.id]


async def test_it_is_let_go_when_the_body_fails(store: Store) -> None:
    with pytest.raises(ManorError, match="something else"):
        async with hold(store, "prod"):
            raise ManorError("something else")
    assert store.read_now(leases.standing) == ()


async def test_busy_names_the_holder_the_operation_and_the_age(store: Store, clock: FakeClock) -> None:
    take(store, "prod/shop", "20260131t090000-1a2b3c")
    clock.advance(35)
    with pytest.raises(Busy, match=r"prod/shop is held for operation 20260131t090000-1a2b3c by process 1 since 35 s; `--wait` waits"):
        async with hold(store, "prod", holder=holder(2), is_gone=nobody_gone):
            pass


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("delivery:op-1", "this artifact is on its way already (delivery op-1, pid 1, since 3 s); `--wait` waits for it, `manor status` shows it"),
        ("run:shop:refs/heads/main", "a run of shop main is under way already (pid 1, since 3 s); `manor run list` shows it"),
        ("prod/shop", "prod/shop is held by process 1 since 3 s, which is about to change it; `--wait` waits for it, `manor status` shows it"),
    ],
)
async def test_busy_is_told_in_the_words_of_what_is_under_way(store: Store, clock: FakeClock, name: str, told: str) -> None:
    take(store, name, "")
    clock.advance(3)
    with pytest.raises(Busy) as busy:
        async with hold(store, name, holder=holder(2), is_gone=nobody_gone):
            pass
    assert str(busy.value) == told


async def test_waiting_ends_when_it_is_free(store: Store, clock: FakeClock) -> None:
    held, told = take(store, "prod"), list[Busy]()

    async def wait() -> int:
        async with hold(store, "prod/shop", wait_seconds=30, on_wait=told.append, holder=holder(2), is_gone=nobody_gone) as lease:
            return lease.token

    waiting = asyncio.create_task(wait())
    for _ in range(3):
        await clock.until_somebody_waits()
        clock.advance(0.5)
    await clock.until_somebody_waits()
    store.write_now(leases.release, "prod", held.token)
    clock.advance(0.5)
    assert await asyncio.wait_for(waiting, 5) == held.token + 1
    assert len(told) == 1


async def test_waiting_has_a_limit(store: Store, clock: FakeClock) -> None:
    take(store, "prod")

    async def wait() -> None:
        async with hold(store, "prod", wait_seconds=1, holder=holder(2), is_gone=nobody_gone):
            pytest.fail("it was held by somebody else")

    waiting = asyncio.create_task(wait())
    for _ in range(2):
        await clock.until_somebody_waits()
        clock.advance(0.5)
    with pytest.raises(Busy):
        await asyncio.wait_for(waiting, 5)


async def test_it_is_renewed_every_15_seconds(store: Store, clock: FakeClock) -> None:
    async with hold(store, "prod"):
        for _ in range(8):
            await clock.until_somebody_waits()
            clock.advance(15)
        await clock.until_somebody_waits()
        assert store.read_now(leases.standing)[0].renewed_at == clock.now()


async def test_a_lost_lease_cancels_the_body(store: Store, clock: FakeClock) -> None:
    successors: list[Lease] = []

    async def body() -> None:
        async with hold(store, "prod", holder=holder(1), is_gone=nobody_gone):
            await clock.until_somebody_waits()
            clock.time += 61  # asleep for longer than the lease lasts
            successors.append(take(store, "prod", "op-2", pid=2))
            clock.advance(0)
            await asyncio.wait_for(asyncio.Event().wait(), 5)
            pytest.fail("the body went on")

    with pytest.raises(FencedOff, match="was succeeded"):
        await body()
    assert store.read_now(leases.standing) == tuple(successors)


async def test_a_lease_that_can_not_be_renewed_for_its_lifetime_is_lost(store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> Lease:
        raise ManorError("database or disk is full")

    async def body() -> None:
        async with hold(store, "prod"):
            monkeypatch.setattr(leases, "renew", full)
            for _ in range(4):
                await clock.until_somebody_waits()
                clock.advance(15)
            await asyncio.wait_for(asyncio.Event().wait(), 5)
            pytest.fail("the body went on")

    with pytest.raises(FencedOff, match=r"could not be renewed for 60 s \(database or disk is full\)"):
        await body()


async def test_a_cancelled_body_lets_go(store: Store) -> None:
    begun = asyncio.Event()

    async def body() -> None:
        async with hold(store, "prod"):
            begun.set()
            await asyncio.Event().wait()

    running = asyncio.create_task(body())
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert store.read_now(leases.standing) == ()


async def test_an_operation_of_a_dead_executor_is_adopted_under_the_next_token(store: Store) -> None:
    world = World()
    operation = await create(store, SHIP, chain(3), KINDS)
    with contextlib.suppress(Killed):
        await run(store, operation.id, world, pid=1, chaos=KillAt(7))
    assert await find_orphans(store, me=holder(2), is_gone=nobody_gone) == ()
    (orphan,) = await find_orphans(store, me=holder(2), is_gone=gone_but(2))
    assert orphan.id == operation.id

    async def carry_out(operation: Operation, lease: Lease) -> Result:
        return await execute(store, operation.id, world, KINDS, lease)

    result = await adopt(store, orphan, carry_out, holder=holder(2), is_gone=gone_but(2))
    assert (result.operation.state, result.operation.token, len(world.acts)) == (OperationState.DONE, 2, 3)
    assert store.read_now(leases.standing) == ()
    assert (await adopt(store, orphan, carry_out, holder=holder(3))).operation.state is OperationState.DONE
    assert len(world.acts) == 3


async def test_an_operation_whose_executor_dies_before_its_first_word_is_an_orphan_like_any_other(store: Store) -> None:
    """Written and begun in one transaction: none is left that nobody looks for."""
    lease = take(store, "prod/shop", "", 1)
    operation = await create(store, SHIP, chain(3), KINDS, lease)
    assert (operation.state, operation.token) == (OperationState.RUNNING, lease.token)
    assert await find_orphans(store, me=holder(2), is_gone=nobody_gone) == ()
    (orphan,) = await find_orphans(store, me=holder(2), is_gone=gone_but(2))
    world = World()

    async def carry_out(operation: Operation, lease: Lease) -> Result:
        return await execute(store, operation.id, world, KINDS, lease)

    result = await adopt(store, orphan, carry_out, holder=holder(2), is_gone=gone_but(2))
    assert (result.operation.state, len(world.acts)) == (OperationState.DONE, 3)


async def test_a_live_executors_operation_is_not_adopted(store: Store) -> None:
    operation = await create(store, SHIP, chain(3), KINDS)
    with contextlib.suppress(Killed):
        await run(store, operation.id, World(), pid=1, chaos=KillAt(7))

    async def carry_out(_operation: Operation, _lease: Lease) -> Result:
        pytest.fail("its executor lives")

    with pytest.raises(Busy):
        await adopt(store, operation, carry_out, holder=holder(2), is_gone=nobody_gone)


def test_hosts_refuse_an_older_token_of_an_excluding_lease() -> None:
    seen = admit(admit({}, "prod/shop", 5), "prod/crm", 4)
    assert seen == {"prod/shop": 5, "prod/crm": 4}
    assert admit(seen, "prod/shop", 5) == seen
    with pytest.raises(FencedOff, match="token 4 for prod/shop is older than 5 for prod/shop"):
        admit(seen, "prod/shop", 4)
    with pytest.raises(FencedOff, match="token 4 for prod is older than 5 for prod/shop"):
        admit(seen, "prod", 4)
    after = admit(seen, "prod", 6)
    with pytest.raises(FencedOff, match="older than 6 for prod"):
        admit(after, "prod/crm", 4)
    assert admit(after, "prod/crm", 7)["prod/crm"] == 7
