"""A rollback beside a rollout that nobody carries out any more: it is never finished, and nothing older than wanted is returned to."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from manor.errors import Busy, Paused, UsageError
from manor.estate.layout import short
from manor.operations.chaos import Point
from manor.operations.events import Event
from manor.operations.leasing import hold
from manor.operations.planning import standing
from manor.operations.stop import Stop
from manor.rollout.story import told_end
from manor.state import deliveries, journal, leases, operations, releases
from manor.state.operations import Operation
from manor.state.words import DeliveryState, OperationState, Outcome
from manor.workflows import resuming, taking_over
from manor.workflows.artifacts import Origin
from manor.workflows.context import Context
from manor.workflows.deliveries import go_on, promote, ship
from manor.workflows.resuming import resume_operation
from manor.workflows.rollback import find_target, rollback
from manor.workflows.rolling import ORDER, Carrying
from manor.workflows.services import restart_service
from tests.rollout.natures import Behaviour
from tests.rollout.running import Killed, Killer
from tests.workflows.modelled import KilledAt, Worlds

ADA = Carrying("ada")


def built(context: Context, version: str) -> Path:
    """Return an artifact's folder."""
    folder = context.file.parent / f"built-{version}"
    folder.mkdir(exist_ok=True)
    (folder / "VERSION").write_text(version)
    return folder


async def shipped(context: Context, version: str, to: str = "prod") -> None:
    await ship(context, "shop", built(context, version), ADA, origin=Origin(commit=version), to=to)


async def release_of(context: Context, version: str, environment: str = "dev") -> str:
    """Return the id of a version's release."""
    for line in await context.store.read(releases.certifications, environment, "shop"):
        row = await context.store.read(releases.get_release, line.release)
        if (await context.store.read(releases.get_artifact, row.artifact)).commit == version:
            return row.id
    raise AssertionError(version)


async def promoted_and_killed(context: Context, killer: Killer) -> Operation | None:
    """Have 1 and 2 certified in prod, and the promotion of 3 killed there; return what it left."""
    for version in ("1", "2"):
        await shipped(context, version)
    await shipped(context, "3", to="dev")
    with suppress(Killed):
        await promote(context, "shop", "prod", Carrying("ada", chaos=killer))
    found = await context.store.read(operations.recent, states=[OperationState.RUNNING])
    return found[0] if found else None


async def require_serves(context: Context, worlds: Worlds, version: str) -> None:
    """Hold that prod serves a version, which is certified last, and that nothing is left over."""
    identifier = await release_of(context, version)
    assert await worlds.releases_serving(context, "prod", "shop") == {identifier}
    certified = await context.store.read(releases.last_certified, "prod", "shop")
    assert certified is not None
    assert certified.id == identifier
    assert await context.store.read(operations.recent, states=[OperationState.RUNNING, OperationState.PAUSED]) == ()
    assert await context.store.read(leases.standing) == ()


MOMENTS = 54
"""More moments than the promotion has."""


@pytest.mark.parametrize("n", [pytest.param(n, marks=() if n % 8 == 3 else pytest.mark.thorough) for n in range(3, MOMENTS)])
async def test_whenever_the_rollout_was_killed_the_release_before_it_serves(context: Context, worlds: Worlds, n: int) -> None:
    left = await promoted_and_killed(context, Killer(n))
    third = await release_of(context, "3")
    certified = await context.store.read(releases.standing_of, "prod", "shop", third)
    done = await rollback(context, "shop", "prod", Carrying("ben"))
    if certified is None and left is None:
        return  # nothing of the rollout was begun yet: an ordinary rollback
    await require_serves(context, worlds, "2")
    assert done.release == short(await release_of(context, "2"))
    last = await context.store.read(releases.standing_of, "prod", "shop", third)
    assert last == certified, "it is certified by nobody afterwards, and nobody blames it"


async def test_every_moment_is_killed_at(context: Context) -> None:
    killer = Killer()
    await promoted_and_killed(context, killer)
    assert MOMENTS - 10 < killer.passed < MOMENTS


async def test_what_was_turned_round_is_the_rollback_and_is_told(context: Context, worlds: Worlds) -> None:
    left = await promoted_and_killed(context, KilledAt("admit", Point.AFTER_ACT))
    assert left is not None
    said: list[Event] = []
    done = await rollback(context, "shop", "prod", Carrying("ben", said.append))
    await require_serves(context, worlds, "2")
    third, second = [short(await release_of(context, version)) for version in ("3", "2")]
    assert done.operation == left.id
    assert done.verdict == f"the unfinished promote of {third} was turned round; {second}, certified, serves as before it"
    assert f"promote prod/shop, operation {left.id}: nobody carries it out any more; it is turned round: rollback does not finish it" in [
        event.text for event in said
    ]
    ended = await standing(context.store, left.id)
    why = "a rollback was asked for while nobody carried it out"
    assert (ended.operation.state, ended.operation.summary) == (OperationState.REVERTED, why)
    told = told_end(ORDER.validate_json(left.arguments), "prod", ended.operation.state, ended.steps, left.id)
    assert told == f"shop {third} was turned round in prod: {why}; {second} serves as before; receipt {left.id}"
    assert {row.state for row in await every_delivery(context)} == {DeliveryState.DONE, DeliveryState.FAILED}
    assert next(row.evidence for row in ended.steps if row.outcome is Outcome.SKIPPED) == f"not done: {why}"


async def every_delivery(context: Context) -> list[deliveries.Delivery]:
    found = await context.store.read(operations.recent, limit=100)
    return [await context.store.read(deliveries.get, one.delivery) for one in found if one.delivery]


async def test_whoever_dies_on_that_way_back_is_succeeded_by_one_who_goes_on_with_it(context: Context, worlds: Worlds) -> None:
    left = await promoted_and_killed(context, KilledAt("admit", Point.AFTER_ACT))
    assert left is not None
    with pytest.raises(Killed):
        await rollback(context, "shop", "prod", Carrying("ben", chaos=KilledAt("withhold", Point.AFTER_ACT)))
    assert (await context.store.read(operations.get, left.id)).plan == 1
    await rollback(context, "shop", "prod", Carrying("eve"))
    await require_serves(context, worlds, "2")


async def test_a_named_release_that_is_another_is_returned_to_after_that(context: Context, worlds: Worlds) -> None:
    left = await promoted_and_killed(context, KilledAt("warm", Point.AFTER_ACT))
    assert left is not None
    done = await rollback(context, "shop", "prod", Carrying("ben"), to=await release_of(context, "1"))
    assert done.operation != left.id
    await require_serves(context, worlds, "1")
    assert (await context.store.read(operations.get, left.id)).state is OperationState.REVERTED


async def test_what_was_never_certified_is_no_target_and_nothing_is_taken_over(context: Context) -> None:
    left = await promoted_and_killed(context, KilledAt("warm", Point.AFTER_ACT))
    assert left is not None
    third = await release_of(context, "3")
    with pytest.raises(UsageError, match="is no release of shop that is certified in prod"):
        await rollback(context, "shop", "prod", Carrying("ben"), to=third)
    assert await context.store.read(operations.get, left.id) == left


async def test_a_first_release_has_nothing_to_return_to_and_is_left_alone(context: Context) -> None:
    await shipped(context, "1", to="dev")
    with pytest.raises(Killed):
        await promote(context, "shop", "prod", Carrying("ada", chaos=KilledAt("admit", Point.AFTER_ACT)))
    (left,) = await context.store.read(operations.recent, states=[OperationState.RUNNING])
    with pytest.raises(UsageError, match="prod has no other certified release of shop to return to"):
        await rollback(context, "shop", "prod", ADA)
    assert await context.store.read(operations.get, left.id) == left


@pytest.mark.parametrize(("kind", "point"), [("place", Point.AFTER_ACT), ("admit", Point.AFTER_ACT), ("stop", Point.AFTER_DONE)])
async def test_a_rollback_that_was_left_is_finished_and_goes_no_step_further(context: Context, worlds: Worlds, kind: str, point: Point) -> None:
    for version in ("1", "2", "3"):
        await shipped(context, version)
    with pytest.raises(Killed):
        await rollback(context, "shop", "prod", Carrying("ada", chaos=KilledAt(kind, point)))
    (left,) = await context.store.read(operations.recent, states=[OperationState.RUNNING])
    done = await rollback(context, "shop", "prod", Carrying("ben"))
    await require_serves(context, worlds, "2")
    assert done.operation == left.id
    assert done.verdict == f"the unfinished rollback to {short(await release_of(context, '2'))} was finished"


async def restarted_and_killed(context: Context, kind: str) -> Operation:
    """Have 1 and 2 certified in prod, and a restart killed after an act of a kind; return what it left."""
    for version in ("1", "2"):
        await shipped(context, version)
    with pytest.raises(Killed):
        await restart_service(context, "shop", "prod", Carrying("ada", chaos=KilledAt(kind, Point.AFTER_ACT)))
    (left,) = await context.store.read(operations.recent, states=[OperationState.RUNNING])
    return left


@pytest.mark.parametrize("kind", ["place", "admit", "stop"])
async def test_a_restart_that_was_left_is_turned_round_and_that_is_the_rollback(context: Context, worlds: Worlds, kind: str) -> None:
    left = await restarted_and_killed(context, kind)
    done = await rollback(context, "shop", "prod", Carrying("ben"))
    await require_serves(context, worlds, "2")
    assert (await context.store.read(operations.get, left.id)).state is OperationState.REVERTED
    second = short(await release_of(context, "2"))
    assert (done.operation, done.release) == (left.id, second)
    assert done.verdict == f"the unfinished restart of {second} was turned round; {second}, certified, serves as before it"
    await rollback(context, "shop", "prod", Carrying("ben"))
    await require_serves(context, worlds, "1")


async def test_a_restart_that_had_certified_once_more_is_finished_and_then_the_release_is_left(context: Context, worlds: Worlds) -> None:
    left = await restarted_and_killed(context, "certify")
    await rollback(context, "shop", "prod", Carrying("ben"))
    await require_serves(context, worlds, "1")
    assert (await context.store.read(operations.get, left.id)).state is OperationState.DONE


async def test_beside_a_restart_that_goes_on_the_release_is_left_when_that_has_ended(context: Context) -> None:
    left = await restarted_and_killed(context, "admit")
    async with hold(context.store, left.lease, left.id) as lease:
        await context.store.write(operations.begin, left.id, lease.token, at=context.store.clock.now())
        assert (await find_target(context, "shop", "prod")).id == await release_of(context, "1")


async def test_ctrl_c_before_it_is_turned_round_pauses_it(context: Context) -> None:
    left = await promoted_and_killed(context, KilledAt("admit", Point.AFTER_ACT))
    assert left is not None
    stop = Stop()
    stop.request("stopped by SIGINT")
    with pytest.raises(Paused, match=f"operation {left.id} is paused: stopped by SIGINT"):
        await rollback(context, "shop", "prod", Carrying("ben", stop=stop))
    assert {row.plan for row in await context.store.read(journal.steps, left.id)} == {0}


async def test_beside_a_rollout_that_goes_on_it_is_busy_and_goes_no_step_further_when_that_has_ended(context: Context, worlds: Worlds) -> None:
    left = await promoted_and_killed(context, KilledAt("place", Point.AFTER_ACT))
    assert left is not None
    async with hold(context.store, left.lease, left.id) as lease:
        await context.store.write(operations.begin, left.id, lease.token, at=context.store.clock.now())
        assert (await find_target(context, "shop", "prod")).id == await release_of(context, "2")
        with pytest.raises(Busy, match=f"held for operation {left.id}"):
            await rollback(context, "shop", "prod", Carrying("ben"))
    await resume_operation(context, left, ADA)
    assert (await context.store.read(operations.get, left.id)).state is OperationState.DONE
    await rollback(context, "shop", "prod", Carrying("ben"))
    await require_serves(context, worlds, "2")


@pytest.mark.parametrize("to", ["", "1"])
async def test_ctrl_c_in_the_last_step_of_the_way_back_ends_well_only_where_nothing_more_is_to_be_done(context: Context, worlds: Worlds, to: str) -> None:
    left = await promoted_and_killed(context, KilledAt("admit", Point.AFTER_ACT))
    assert left is not None
    stop, named = Stop(), await release_of(context, to) if to else ""

    def tell(event: Event) -> None:
        if event.kind == "conclude":
            stop.request("stopped by SIGINT")

    if to:
        with pytest.raises(Paused, match="stopped by SIGINT; nothing of the rollback itself was begun: `manor status` shows what serves"):
            await rollback(context, "shop", "prod", Carrying("ben", tell, stop), to=named)
    else:
        assert (await rollback(context, "shop", "prod", Carrying("ben", tell, stop))).operation == left.id
    await require_serves(context, worlds, "2")


ENDING = [("certify", Point.AFTER_ACT), ("certify", Point.AFTER_DONE), ("delivery-dev", Point.AFTER_DONE)]


async def rolled_back_in_dev(context: Context, worlds: Worlds, kind: str, point: Point) -> deliveries.Delivery:
    """Have the executor of 3 die once that was certified in dev, and dev rolled back to 2; return the delivery of 3."""
    for version in ("1", "2"):
        await shipped(context, version)
    with pytest.raises(Killed):
        await ship(context, "shop", built(context, "3"), Carrying("ada", chaos=KilledAt(kind, point)), origin=Origin(commit="3"), to="prod")
    (left,) = await context.store.read(deliveries.unfinished)
    await rollback(context, "shop", "dev", Carrying("ben"))
    assert await worlds.releases_serving(context, "dev", "shop") == {await release_of(context, "2")}
    return left


@pytest.mark.parametrize(("kind", "point"), ENDING)
async def test_what_was_rolled_back_goes_on_into_no_further_environment(context: Context, worlds: Worlds, kind: str, point: Point) -> None:
    left = await rolled_back_in_dev(context, worlds, kind, point)
    await go_on(context, left.id, Carrying("controller"), is_patient=True)
    await require_serves(context, worlds, "2")
    assert await context.store.read(deliveries.unfinished) == ()
    ended = await context.store.read(deliveries.get, left.id)
    second = short(await release_of(context, "2"))
    assert (ended.state, ended.summary) in {
        (DeliveryState.FAILED, "dev was rolled back"),
        (DeliveryState.DONE, f"goes no further: {second} is what dev has certified last by now; `manor promote shop --to prod` takes what is certified there"),
    }


@pytest.mark.parametrize(("kind", "point"), ENDING)
async def test_the_next_ship_takes_it_no_further_either(context: Context, worlds: Worlds, kind: str, point: Point) -> None:
    await rolled_back_in_dev(context, worlds, kind, point)
    await shipped(context, "4", to="dev")
    await require_serves(context, worlds, "2")


@pytest.mark.parametrize(("kind", "point"), [*ENDING[:2], ("admit", Point.AFTER_ACT)])
async def test_its_delivery_ends_in_the_transaction_in_which_the_operation_ends(
    context: Context, kind: str, point: Point, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1", "2"):
        await shipped(context, version)
    with pytest.raises(Killed):
        await ship(context, "shop", built(context, "3"), Carrying("ada", chaos=KilledAt(kind, point)), origin=Origin(commit="3"), to="prod")
    (left,) = await context.store.read(deliveries.unfinished)

    async def killed(*_: object, **__: object) -> None:
        raise Killed

    monkeypatch.setattr(resuming, "receipt_or_reason", killed)
    with pytest.raises(Killed):
        await rollback(context, "shop", "dev", Carrying("ben"))
    (operation,) = [one for one in await context.store.read(operations.recent, "dev") if one.delivery == left.id]
    assert operation.state in (OperationState.DONE, OperationState.REVERTED)
    ended = await context.store.read(deliveries.get, left.id)
    assert (ended.state, ended.summary) == (DeliveryState.FAILED, "dev was rolled back")


async def rollback_killed_on_its_way_back(context: Context, worlds: Worlds) -> Operation:
    """Have the promotion of 3 given up in the middle, and the rollback to 2, which failed and was turned round, killed; return what that left."""
    left = await promoted_and_killed(context, KilledAt("admit", Point.AFTER_ACT))
    assert left is not None
    async with hold(context.store, left.lease, left.id) as lease:
        await context.store.write(operations.abandon, left.id, lease.token, "ada", "enough", at=context.store.clock.now())
    second = short(await release_of(context, "2"))
    worlds.natures["prod"][second] = Behaviour(answers=500)
    with pytest.raises(Killed):
        await rollback(context, "shop", "prod", Carrying("ben", chaos=KilledAt("conclude", Point.AFTER_INTENT)))
    worlds.natures["prod"][second] = Behaviour()
    (found,) = await context.store.read(operations.recent, states=[OperationState.RUNNING])
    assert (found.verb, found.plan, ORDER.validate_json(found.arguments).release) == ("rollback", 1, second)
    return found


@pytest.mark.thorough  # an instance's deadline passes in real time
async def test_a_rollback_after_one_that_failed_goes_no_release_further(context: Context, worlds: Worlds) -> None:
    left = await rollback_killed_on_its_way_back(context, worlds)
    done = await rollback(context, "shop", "prod", Carrying("eve"))
    await require_serves(context, worlds, "2")
    assert done.operation != left.id


async def killed_at_certify(context: Context) -> Operation:
    """Have 1 and 2 certified in prod, and the promotion of 3 killed once it had certified that; return what it left."""
    left = await promoted_and_killed(context, KilledAt("certify", Point.AFTER_ACT))
    assert left is not None
    return left


@pytest.mark.parametrize("to", ["", "3"])
async def test_what_had_certified_its_release_is_finished_and_told_so(context: Context, worlds: Worlds, to: str) -> None:
    left = await killed_at_certify(context)
    said: list[Event] = []
    done = await rollback(context, "shop", "prod", Carrying("ben", said.append), to=await release_of(context, to) if to else "")
    assert f"promote prod/shop, operation {left.id}: nobody carries it out any more; it is gone on with first" in [event.text for event in said]
    assert not any("turned round" in event.text for event in said)
    assert (await context.store.read(operations.get, left.id)).state is OperationState.DONE
    await require_serves(context, worlds, to or "2")
    third = short(await release_of(context, "3"))
    assert done.verdict == (f"the unfinished promote of {third} was finished" if to else "")


async def test_whether_it_is_turned_round_is_decided_under_its_lease(context: Context, worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one goes on with it, certifies and dies too after it was found."""
    left = await promoted_and_killed(context, KilledAt("admit", Point.AFTER_ACT))
    assert left is not None
    real = resume_operation

    async def late(*args: Any, **more: Any) -> Any:
        with suppress(Killed):
            await real(context, left, Carrying("eve", chaos=KilledAt("certify", Point.AFTER_ACT)))
        return await real(*args, **more)

    monkeypatch.setattr(taking_over, "resume_operation", late)
    said: list[Event] = []
    await rollback(context, "shop", "prod", Carrying("ben", said.append))
    assert f"promote prod/shop, operation {left.id}: nobody carries it out any more; it is gone on with first" in [event.text for event in said]
    assert not any("turned round" in event.text for event in said)
    assert (await context.store.read(operations.get, left.id)).state is OperationState.DONE
    await require_serves(context, worlds, "2")
