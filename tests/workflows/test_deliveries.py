"""A delivery through two environments of a model, killed at every moment: whoever comes next brings it to its end, and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from manor.errors import ApplyFailed, Busy, Paused, UsageError
from manor.estate.layout import short
from manor.operations.chaos import Point
from manor.operations.events import Event
from manor.operations.leasing import hold
from manor.operations.stop import Stop
from manor.state import deliveries, leases, operations, releases, tables
from manor.state.deliveries import Delivery
from manor.state.operations import NewOperation, Operation
from manor.state.words import DeliveryState, OperationState
from manor.workflows import abandoning, status
from manor.workflows.abandoning import abandon_delivery
from manor.workflows.artifacts import Origin
from manor.workflows.context import Context
from manor.workflows.deliveries import delivery_of, find_orphans, find_unfinished, go_on, promote, ship
from manor.workflows.delivery import Delivered, certified_before, certified_ids
from manor.workflows.needs import delivery_need
from manor.workflows.rollback import find_target
from manor.workflows.rolling import Carrying, require_up
from manor.workflows.status import deliveries_at, environment_status
from tests.rollout.natures import Behaviour
from tests.rollout.running import Killed, Killer
from tests.workflows.modelled import KilledAt, Worlds

BROKEN = Behaviour(answers=500)


def built(context: Context, version: str) -> Path:
    """Return an artifact's folder."""
    folder = context.file.parent / f"built-{version}"
    folder.mkdir(exist_ok=True)
    (folder / "VERSION").write_text(version)
    return folder


async def shipped(context: Context, version: str = "1", killer: Killer | None = None, **more: Any) -> list[Delivered]:
    """Ship a version; a killer kills it."""
    carrying = Carrying("ada", chaos=killer) if killer else Carrying("ada", **more.pop("carrying", {}))
    return await ship(context, "shop", built(context, version), carrying, origin=Origin(commit=version), **more)


async def every_operation(context: Context) -> list[Operation]:
    return list(reversed(await context.store.read(operations.recent, limit=1000)))


async def every_delivery(context: Context) -> list[Delivery]:
    query = sa.select(tables.deliveries).order_by(tables.deliveries.c.created_at)
    return await context.store.read(lambda connection: [Delivery(**row) for row in connection.execute(query).mappings()])


async def certified(context: Context) -> list[str]:
    """Return the commit of what is certified in dev and in prod."""
    found = [await context.store.read(releases.last_certified, name, "shop") for name in ("dev", "prod")]
    return [(await context.store.read(releases.get_artifact, row.artifact)).commit if row else "" for row in found]


async def by_resume(context: Context, _version: str) -> None:
    """Go on as `manor resume` does."""
    found = await find_unfinished(context, "shop")
    mine = await delivery_of(context, found) if isinstance(found, Operation) else found
    assert mine is not None
    await go_on(context, mine.id, Carrying("ben"), by_person=True)


async def by_controller(context: Context, _version: str) -> None:
    """Go on as the controller does."""
    (orphan,) = await find_orphans(context)
    await go_on(context, orphan.id, Carrying("controller"), is_patient=True)


async def by_same_verb(context: Context, version: str) -> None:
    """Go on by shipping the same thing once more."""
    await shipped(context, version)


async def require_one_of_each(context: Context, version: str) -> None:
    """Hold that the version is certified in both, each time by one operation, and nothing is left over."""
    assert await certified(context) == [version, version]
    (one,) = await every_delivery(context)
    assert one.state is DeliveryState.DONE
    begun = [row for row in await every_operation(context) if row.started_at is not None]
    assert [(row.environment, row.state, row.delivery) for row in begun] == [("dev", "done", one.id), ("prod", "done", one.id)]
    assert await context.store.read(deliveries.unfinished) == ()
    assert await context.store.read(leases.standing) == ()


NEXT = [by_resume, by_controller, by_same_verb]
BETWEEN = [
    ("delivery", Point.AFTER_INTENT),
    ("delivery-dev", Point.BEFORE_INTENT),
    ("delivery-dev", Point.AFTER_INTENT),
    ("delivery-dev", Point.AFTER_DONE),
    ("delivery-prod", Point.BEFORE_INTENT),
    ("delivery-prod", Point.AFTER_INTENT),
    ("delivery-prod", Point.AFTER_DONE),
]


async def killed_at(context: Context, kind: str, point: Point, version: str = "1") -> None:
    with pytest.raises(Killed):
        await shipped(context, version, KilledAt(kind, point))


@pytest.mark.parametrize("next_one", NEXT)
@pytest.mark.parametrize(("kind", "point"), BETWEEN)
async def test_killed_between_environments_whoever_comes_next_goes_on(
    context: Context, kind: str, point: Point, next_one: Callable[[Context, str], Awaitable[None]]
) -> None:
    await killed_at(context, kind, point)
    await next_one(context, "1")
    await require_one_of_each(context, "1")


async def test_killed_before_it_is_written_down_nothing_was_accepted(context: Context) -> None:
    await killed_at(context, "delivery", Point.BEFORE_INTENT)
    assert await every_delivery(context) == []
    assert await context.store.read(lambda connection: connection.execute(sa.select(tables.artifacts)).all()) == []


EVERY = 82
"""More moments than a delivery through both environments has."""


@pytest.mark.parametrize("n", [pytest.param(n, marks=() if n % 27 == 2 else pytest.mark.thorough) for n in range(2, EVERY)])
async def test_killed_at_any_moment_it_is_delivered_once(context: Context, n: int) -> None:
    killer = Killer(n)
    with suppress(Killed):
        await shipped(context, "1", killer)
    if killer.is_dead:
        await by_controller(context, "1")
    await require_one_of_each(context, "1")


async def test_every_moment_is_killed_at(context: Context) -> None:
    killer = Killer()
    await shipped(context, "1", killer)
    assert EVERY - 10 < killer.passed < EVERY


async def test_killed_again_and_again(context: Context) -> None:
    with pytest.raises(Killed):
        await shipped(context, "1", Killer(5))
    for n in range(3, 60):
        if orphans := await find_orphans(context):
            with suppress(Killed):
                await go_on(context, orphans[0].id, Carrying("ben", chaos=Killer(n)), is_patient=True)
    await require_one_of_each(context, "1")


async def test_a_promotion_is_durable_too(context: Context) -> None:
    await shipped(context, "1", to="dev")
    with pytest.raises(Killed):
        await promote(context, "shop", "prod", Carrying("ada", chaos=KilledAt("delivery-prod", Point.AFTER_INTENT)))
    assert (await every_operation(context))[-1].environment == "dev"
    await by_resume(context, "1")
    assert await certified(context) == ["1", "1"]
    assert [(row.verb, row.environment) for row in await every_operation(context)] == [("ship", "dev"), ("promote", "prod")]


async def test_the_next_verb_goes_on_with_what_was_left_and_then_does_its_own(context: Context) -> None:
    await killed_at(context, "delivery-dev", Point.AFTER_DONE, "1")
    said: list[Event] = []
    await shipped(context, "2", carrying={"tell": said.append})
    assert [(row.environment, row.state) for row in await every_operation(context)] == [("dev", "done"), ("prod", "done")] * 2
    assert await certified(context) == ["2", "2"]
    assert {row.state for row in await every_delivery(context)} == {DeliveryState.DONE}


@pytest.mark.thorough  # an instance's deadline passes in real time
async def test_what_was_left_and_fails_keeps_nobody(context: Context, worlds: Worlds) -> None:
    await killed_at(context, "delivery-dev", Point.AFTER_DONE, "1")
    first = await context.store.read(releases.last_certified, "dev", "shop")
    assert first is not None
    worlds.natures["prod"][short(first.id)] = BROKEN
    said: list[Event] = []
    await shipped(context, "2", carrying={"tell": said.append})
    assert await certified(context) == ["2", "2"]
    assert [row.state for row in await every_delivery(context)] == [DeliveryState.FAILED, DeliveryState.DONE]
    assert any("delivery" in event.text and short(first.id) in event.text for event in said)


@pytest.mark.thorough  # an instance's deadline passes in real time
async def test_one_that_failed_has_ended(context: Context, worlds: Worlds) -> None:
    await shipped(context, "1", to="dev")
    first = await context.store.read(releases.last_certified, "dev", "shop")
    assert first is not None
    worlds.natures["prod"][short(first.id)] = BROKEN
    with pytest.raises(ApplyFailed):
        await shipped(context, "1")
    assert [row.state for row in await every_delivery(context)] == [DeliveryState.DONE, DeliveryState.FAILED]
    with pytest.raises(UsageError, match="nothing unfinished"):
        await find_unfinished(context, "")
    with pytest.raises(UsageError, match="failed in prod before"):
        await shipped(context, "1")


async def test_busy_on_the_way_pauses_it_and_a_person_goes_on(context: Context) -> None:
    with pytest.raises(Busy):
        async with hold(context.store, "prod/shop"):
            await shipped(context, "1")
    (paused,) = await every_delivery(context)
    assert (paused.state, paused.environment) == (DeliveryState.PAUSED, "prod")
    assert await find_orphans(context) == (), "a person was told and decides"
    await by_resume(context, "1")
    await require_one_of_each(context, "1")


async def test_busy_before_anything_was_begun_leaves_nothing(context: Context) -> None:
    with pytest.raises(Busy):
        async with hold(context.store, "dev/shop"):
            await shipped(context, "1")
    (ended,) = await every_delivery(context)
    assert ended.state is DeliveryState.FAILED


async def test_a_patient_one_stays_open(context: Context) -> None:
    await killed_at(context, "delivery-dev", Point.AFTER_DONE)
    with pytest.raises(Busy):
        async with hold(context.store, "prod/shop"):
            await by_controller(context, "1")
    assert len(await find_orphans(context)) == 1
    await by_controller(context, "1")
    await require_one_of_each(context, "1")


async def test_a_paused_one_gives_way_to_a_newer_one(context: Context) -> None:
    with pytest.raises(Busy):
        async with hold(context.store, "prod/shop"):
            await shipped(context, "1")
    await shipped(context, "2")
    assert [row.state for row in await every_delivery(context)] == [DeliveryState.SUPERSEDED, DeliveryState.DONE]
    assert await certified(context) == ["2", "2"]
    assert [row.environment for row in await every_operation(context)] == ["dev", "dev", "prod"]


async def test_one_that_goes_further_is_not_ended_by_a_shorter_one(context: Context) -> None:
    with pytest.raises(Busy):
        async with hold(context.store, "prod/shop"):
            await shipped(context, "1")
    await shipped(context, "2", to="dev")
    assert [row.state for row in await every_delivery(context)] == [DeliveryState.PAUSED, DeliveryState.DONE]


async def test_ctrl_c_pauses_it_within_an_environment_and_only_a_person_goes_on(context: Context) -> None:
    stop = Stop()
    stop.request("SIGINT")
    with pytest.raises(Paused):
        await shipped(context, "1", carrying={"stop": stop})
    (paused,) = await every_delivery(context)
    assert paused.state is DeliveryState.PAUSED
    with pytest.raises(Paused, match="manor resume"):
        await go_on(context, paused.id, Carrying("controller"), is_patient=True)
    assert await find_orphans(context) == (), "it would be tried again for ever"
    found = await find_unfinished(context, paused.id)
    assert isinstance(found, Operation), "its operation is what is resumed"
    assert await deliveries_at(context, "dev") == (), "the operation's own line shows it"
    await by_resume(context, "1")
    await require_one_of_each(context, "1")


async def test_what_is_given_up_goes_no_further(context: Context) -> None:
    await killed_at(context, "delivery-dev", Point.AFTER_DONE)
    found = await find_unfinished(context, "shop")
    assert isinstance(found, Delivery)
    assert (await abandon_delivery(context, found, "enough", "ada")).state is DeliveryState.ABANDONED
    assert await go_on(context, found.id, Carrying("ben")) == []
    assert await certified(context) == ["1", ""]


async def test_an_operation_that_is_given_up_ends_its_delivery(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_receipt(*_: object) -> tuple[None, str]:
        return None, ""

    monkeypatch.setattr(abandoning, "receipt_or_reason", no_receipt)
    with pytest.raises(Killed):
        await shipped(context, "1", Killer(12))
    (operation,) = await every_operation(context)
    await abandoning.abandon_operation(context, operation, "enough", "ada")
    (ended,) = await every_delivery(context)
    assert (ended.state, ended.summary) == (DeliveryState.ABANDONED, "enough")


async def test_two_that_ship_the_same_deliver_it_once(context: Context) -> None:
    both = await asyncio.gather(*(shipped(context, "1", carrying={"wait_seconds": 30.0}) for _ in range(2)), return_exceptions=True)
    assert not [one for one in both if isinstance(one, BaseException) and not isinstance(one, Busy)]
    assert [(row.environment, row.state) for row in await every_operation(context)] == [("dev", "done"), ("prod", "done")]


async def test_status_says_where_it_is_and_what_to_do(context: Context) -> None:
    await killed_at(context, "delivery-dev", Point.AFTER_DONE)
    (shown,) = await deliveries_at(context, "dev")
    assert (shown.where, shown.is_carried_out) == ("after", False)
    ways = f"`manor resume {shown.delivery.id}`, or `manor abandon {shown.delivery.id} --reason …`"
    assert delivery_need(shown) == f"ship shop (artifact {short(shown.delivery.artifact)}) is after dev, open: {ways}"
    assert await deliveries_at(context, "prod") == ()
    async with hold(context.store, shown.delivery.lease):
        (shown,) = await deliveries_at(context, "dev")
        assert shown.is_carried_out


async def test_an_environment_that_is_not_up_is_told_at_once(context: Context) -> None:
    await require_up(context, "prod")
    await context.store.write(lambda connection: connection.exec_driver_sql("DELETE FROM addresses"))
    await context.store.write(lambda connection: connection.exec_driver_sql("DELETE FROM environments"))
    with pytest.raises(UsageError, match=r"^prod is not up; first `manor up -e prod`$"):
        await require_up(context, "prod")


async def test_the_next_verb_goes_on_with_what_a_dead_executor_left_within_an_environment(context: Context) -> None:
    """Of another artifact: nobody has to say `resume` first."""
    await killed_at(context, "admit", Point.AFTER_ACT)
    (left,) = await context.store.read(operations.recent, states=[OperationState.RUNNING])
    said: list[str] = []
    await shipped(context, "2", carrying={"tell": lambda event: said.append(event.text)})
    assert (await context.store.read(operations.get, left.id)).state is OperationState.DONE
    assert f"ship {left.lease}, operation {left.id}: nobody carries it out any more; it is gone on with first" in said
    assert await certified(context) == ["2", "2"]
    assert await context.store.read(operations.recent, states=[OperationState.RUNNING, OperationState.PAUSED]) == ()


async def half_down(context: Context, environment: str) -> Operation:
    """Return the end of an environment that nobody carries out any more."""
    async with hold(context.store, environment) as lease:
        made = await context.store.write(operations.create, NewOperation("down", environment), at=1.0)
        return await context.store.write(operations.begin, made.id, lease.token, at=1.0)


async def test_into_an_environment_that_is_being_taken_down_nothing_is_shipped_and_nothing_is_left_of_it(context: Context) -> None:
    down = await half_down(context, "dev")
    with pytest.raises(
        Paused, match=rf"operation {down.id} \(down dev\) .*; first `manor down -e dev`, `manor up -e dev`, `manor resume {down.id}`, or `manor ab"
    ):
        await shipped(context, "1")
    assert [row.state for row in await every_delivery(context)] == [DeliveryState.FAILED]
    assert await every_operation(context) == [down]


async def test_one_that_is_taken_down_later_on_the_way_stops_it_there(context: Context) -> None:
    down = await half_down(context, "prod")
    with pytest.raises(Paused, match=rf"operation {down.id} \(down prod\)"):
        await shipped(context, "1")
    (paused,) = await every_delivery(context)
    assert (paused.state, paused.environment) == (DeliveryState.PAUSED, "prod")
    assert await certified(context) == ["1", ""]


async def nothing_seen(*_: object) -> tuple[tuple[()], tuple[()]]:
    """See no host and no service."""
    return (), ()


async def test_status_needs_a_person_for_what_nobody_carries_out_and_for_nothing_else(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "live_status", nothing_seen)
    with pytest.raises(Killed):
        await shipped(context, "1", Killer(12))
    (operation,) = await every_operation(context)
    left = await environment_status(context, "dev")
    assert not left.is_well
    assert any("is half done, and nobody carries it out" in need and f"`manor resume {operation.id}`" in need for need in left.needs)
    async with hold(context.store, operation.lease, operation.id) as lease:
        await context.store.write(operations.begin, operation.id, lease.token, at=context.store.clock.now())
        carried = await environment_status(context, "dev")
        assert carried.carried_out == (operation.id,)
        assert not [need for need in carried.needs if "manor resume" in need]
        await context.store.write(operations.end, operation.id, lease.token, OperationState.PAUSED, "web-1 is held", at=context.store.clock.now())
    paused = await environment_status(context, "dev")
    told = f"ship dev/shop is paused (web-1 is held): `manor resume {operation.id}`, or `manor abandon {operation.id} --reason …`"
    assert told in paused.needs


async def test_who_ships_what_is_on_its_way_is_told_so_in_plain_words(context: Context) -> None:
    with pytest.raises(Killed):
        await shipped(context, "1", Killer(12))
    (row,) = await every_delivery(context)
    async with hold(context.store, row.lease):
        with pytest.raises(Busy, match=rf"this artifact of shop is on its way already \(delivery {row.id}, pid \d+, since \d+ s\)"):
            await shipped(context, "1")


async def test_a_release_that_is_not_certified_is_answered_with_those_that_are(context: Context) -> None:
    with pytest.raises(UsageError, match="'000' is no release of shop that is certified in dev; nothing of shop is"):
        await find_target(context, "shop", "dev", to="000")
    await shipped(context, "1")
    await shipped(context, "2")
    known = await certified_ids(context, "shop", "dev")
    there = ", ".join(map(short, known))
    assert len(known) == 2
    with pytest.raises(UsageError, match=f"'000' is no release of shop that is certified in dev; there are, newest first: {there}"):
        await find_target(context, "shop", "dev", to="000")
    assert (await certified_before(context, "shop", "dev", known[1][:12])).id == known[1]
