"""A dry run shows the very steps that are then taken, refuses what is then refused, and changes nothing."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from manor.errors import Busy, ManorError, Paused, UsageError
from manor.estate.layout import short
from manor.estate.model import Environment
from manor.execution.machine import Machine
from manor.operations.chaos import Point
from manor.operations.leasing import hold
from manor.operations.planning import create
from manor.operations.step import Planned
from manor.operations.stop import Stop
from manor.state import deliveries, journal, operations, releases
from manor.state.operations import NewOperation, Operation
from manor.state.scratch import open_copy
from manor.state.words import OperationState
from manor.workflows.artifacts import Origin
from manor.workflows.context import Context, open_context
from manor.workflows.deliveries import delivery_of, find_unfinished, go_on, promote, ship
from manor.workflows.delivery import certified_ids
from manor.workflows.foreseeing import Foreseen, Show, foresee_promote, foresee_removal, foresee_restart, foresee_resume, foresee_rollback, foresee_ship
from manor.workflows.removing import REMOVE_KINDS, ForgetInstance
from manor.workflows.rollback import rollback
from manor.workflows.rolling import Carrying
from manor.workflows.services import restart_service
from tests.rollout.running import Killed
from tests.workflows.modelled import KilledAt, Worlds
from tests.workflows.test_rollback import restarted_and_killed, rollback_killed_on_its_way_back

Foresee = Callable[[Context, Show], Awaitable[None]]


def photograph(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Return all that is in a folder: names and contents, the database as the rows that it holds."""
    files = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
        if not path.name.startswith("state.db")
    }
    database = folder / "state" / "state.db"
    with closing(sqlite3.connect(database)) as connection:
        return files, list(connection.iterdump())


async def foreseen(context: Context, foresee: Foresee) -> list[Foreseen]:
    """Return what a dry run shows, and hold that it changes nothing."""
    before = photograph(context.file.parent)
    shown: list[Foreseen] = []
    try:
        with open_copy(context.folder) as store:
            machine = Machine().copy_to(store.folder.database.with_name("addresses"))
            await foresee(replace(context, store=store, machine=machine), shown.append)
    finally:
        assert photograph(context.file.parent) == before
    return shown


def built(context: Context, version: str) -> Path:
    """Return an artifact's folder."""
    folder = context.file.parent / f"built-{version}"
    folder.mkdir(exist_ok=True)
    (folder / "VERSION").write_text(version)
    return folder


async def shipped(context: Context, version: str, **more: str) -> None:
    """Ship a version."""
    await ship(context, "shop", built(context, version), Carrying("ada"), origin=Origin(), **more)


def shipping(context: Context, version: str, **more: str) -> Foresee:
    """Return the dry run of that."""
    path = built(context, version)
    return lambda copy, show: foresee_ship(copy, "shop", path, show, actor="ada", origin=Origin(), **more)


async def taken(context: Context, known: int = 0) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return the steps that were really planned, by environment, but for the first operations."""
    every = list(reversed(await context.store.read(operations.recent, limit=1000)))[known:]
    return [(one.environment, [(row.host, row.kind, row.text) for row in await context.store.read(journal.steps, one.id, 0)]) for one in every]


def steps_in(shown: list[Foreseen]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return the steps that were shown, by environment."""
    return [(one.environment, [(step.host, step.kind, step.text) for step in one.steps]) for one in shown if one.steps]


async def test_a_first_release(context: Context) -> None:
    shown = await foreseen(context, shipping(context, "1"))
    assert await taken(context) == []
    await shipped(context, "1")
    assert steps_in(shown) == await taken(context)
    assert len(shown) == 2


async def test_another_release_and_one_that_stops_before_prod(context: Context) -> None:
    await shipped(context, "1")
    shown = await foreseen(context, shipping(context, "2", to="dev"))
    await shipped(context, "2", to="dev")
    assert steps_in(shown) == await taken(context, 2)
    assert [one.environment for one in shown] == ["dev"]


async def test_what_is_there_already(context: Context) -> None:
    await shipped(context, "1")
    shown = await foreseen(context, shipping(context, "1"))
    assert steps_in(shown) == []
    assert all("nothing to do" in one.note for one in shown)


async def test_a_promotion(context: Context) -> None:
    await shipped(context, "1", to="dev")
    shown = await foreseen(context, lambda copy, show: foresee_promote(copy, "shop", "prod", show, actor="ada"))
    await promote(context, "shop", "prod", Carrying("ada"))
    assert steps_in(shown) == await taken(context, 1)


async def test_a_rollback(context: Context) -> None:
    await shipped(context, "1")
    first = await context.store.read(releases.last_certified, "prod", "shop")
    assert first is not None
    await shipped(context, "2")
    shown = await foreseen(context, lambda copy, show: foresee_rollback(copy, "shop", "prod", show, to=first.id))
    await rollback(context, "shop", "prod", Carrying("ada"), to=first.id)
    assert steps_in(shown) == await taken(context, 4)
    with pytest.raises(UsageError, match="is no release of shop that is certified in prod; there are, newest first: "):
        await foreseen(context, lambda copy, show: foresee_rollback(copy, "shop", "prod", show, to="0" * 12))


async def test_a_restart(context: Context) -> None:
    with pytest.raises(UsageError, match="nothing of shop is certified in dev"):
        await foreseen(context, lambda copy, show: foresee_restart(copy, "shop", "dev", show))
    await shipped(context, "1")
    shown = await foreseen(context, lambda copy, show: foresee_restart(copy, "shop", "dev", show))
    await restart_service(context, "shop", "dev", Carrying("ada"))
    assert steps_in(shown) == await taken(context, 2)


async def test_what_is_left_of_a_delivery(context: Context) -> None:
    with pytest.raises(Killed):
        await ship(context, "shop", built(context, "1"), Carrying("ada", chaos=KilledAt("place", Point.AFTER_INTENT)), origin=Origin())
    found = await find_unfinished(context, "shop")
    assert isinstance(found, Operation)
    mine = await delivery_of(context, found)
    assert mine is not None
    shown = await foreseen(context, lambda copy, show: foresee_resume(copy, found, mine, show))
    assert [one.environment for one in shown] == ["dev", "prod"]
    before = {row.key for row in await context.store.read(journal.steps, found.id) if row.outcome == "pending"}
    await go_on(context, mine.id, Carrying("ben"), by_person=True)
    left, (_, in_prod) = shown[0], (await taken(context))[1]
    assert len(left.steps) == len(before)
    assert "looked at first" in left.steps[0].text
    assert steps_in(shown)[1] == ("prod", in_prod)


async def test_what_was_left_by_an_older_one_is_told(context: Context) -> None:
    with pytest.raises(Killed):
        await ship(context, "shop", built(context, "1"), Carrying("ada", chaos=KilledAt("delivery-dev", Point.BEFORE_INTENT)), origin=Origin())
    (left,) = await context.store.read(deliveries.unfinished)
    shown = await foreseen(context, shipping(context, "2"))
    assert [one.environment for one in shown] == ["dev", "dev", "prod", "dev", "prod"]
    assert left.id in shown[0].note


async def killed(context: Context, kind: str, version: str = "3", environment: str = "prod") -> Operation:
    """Have 1 and 2 certified, and another version killed after an act of a kind; return what it left."""
    for known in ("1", "2"):
        await shipped(context, known)
    if environment == "prod":
        await shipped(context, version, to="dev")
    carrying = Carrying("ada", chaos=KilledAt(kind, Point.AFTER_ACT))
    with pytest.raises(Killed):
        await ship(context, "shop", built(context, version), carrying, origin=Origin())
    (left,) = await context.store.read(operations.recent, states=[OperationState.RUNNING])
    assert left.environment == environment
    return left


@pytest.mark.parametrize("kind", ["place", "admit", "stop"])
async def test_a_rollback_turns_what_was_left_round_and_that_is_it(context: Context, kind: str) -> None:
    left = await killed(context, kind)
    shown = await foreseen(context, lambda copy, show: foresee_rollback(copy, "shop", "prod", show))
    way, last = shown
    assert way.note == f"first operation {left.id} (ship prod/shop), which nobody carries out, is turned round"
    certified = await context.store.read(releases.last_certified, "prod", "shop")
    assert certified is not None
    assert last.note == f"that is the rollback: {short(certified.id)} then serves, and it is certified"
    done = await rollback(context, "shop", "prod", Carrying("ada"))
    assert (done.operation, done.release) == (left.id, short(certified.id))
    taken_back = [(row.host, row.kind, row.text) for row in await context.store.read(journal.steps, left.id, 1)]
    assert [(step.host, step.kind, step.text) for step in way.steps] == taken_back


async def test_a_rollback_further_back_shows_both(context: Context) -> None:
    left = await killed(context, "admit")
    first = (await certified_ids(context, "shop", "prod"))[-1]
    shown = await foreseen(context, lambda copy, show: foresee_rollback(copy, "shop", "prod", show, to=first))
    assert [one.note for one in shown] == [f"first operation {left.id} (ship prod/shop), which nobody carries out, is turned round", f"shop {short(first)}"]
    assert all(one.steps for one in shown)


async def test_a_restart_goes_on_with_what_was_left_first(context: Context) -> None:
    left = await killed(context, "admit")
    shown = await foreseen(context, lambda copy, show: foresee_restart(copy, "shop", "prod", show))
    assert shown[0].note == f"first operation {left.id} (ship prod/shop), which nobody carries out, is gone on with"
    assert len(shown) == 2
    assert all(one.steps for one in shown)


async def test_a_ship_goes_on_with_what_was_left_of_another_artifact_first(context: Context) -> None:
    left = await killed(context, "admit", environment="dev")
    (old,) = await context.store.read(deliveries.unfinished)
    shown = await foreseen(context, shipping(context, "4"))
    assert shown[0].note == f"first delivery {old.id}, which somebody left, is gone on with"
    assert shown[1].note == f"what is left of operation {left.id}"
    assert [one.environment for one in shown] == ["dev", "dev", "prod", "dev", "prod"]


async def test_a_promotion_goes_on_with_a_restart_that_was_left_first(context: Context) -> None:
    await shipped(context, "1")
    await shipped(context, "2", to="dev")
    with pytest.raises(Killed):
        await restart_service(context, "shop", "prod", Carrying("ada", chaos=KilledAt("admit", Point.AFTER_ACT)))
    (left,) = await context.store.read(operations.recent, states=[OperationState.RUNNING])
    shown = await foreseen(context, lambda copy, show: foresee_promote(copy, "shop", "prod", show, actor="ada"))
    assert shown[0].note == f"first operation {left.id} (restart prod/shop), which nobody carries out, is gone on with"
    assert [one.verb for one in shown] == ["restart", "promote"]


async def test_a_removal_shows_what_was_left_of_one_and_nothing_twice(context: Context) -> None:
    estate = context.estate.model_copy(update={"environments": {name: bare(one) for name, one in context.estate.environments.items()}})
    later = replace(context, estate=estate)
    new = NewOperation("remove", "prod", "shop", estate_digest=context.estate.digest)
    operation = await create(context.store, new, [Planned(0, ForgetInstance("shop", "web-1", "a", ""))], REMOVE_KINDS)
    async with hold(context.store, operation.lease, operation.id) as lease:
        await context.store.write(operations.begin, operation.id, lease.token, at=1.0)
    shown = await foreseen(later, lambda copy, show: foresee_removal(copy, "shop", "prod", show))
    (one,) = shown
    assert one.note == f"first operation {operation.id} (remove prod/shop), which nobody carries out, is gone on with"
    assert [step.kind for step in one.steps] == ["forget"]


def bare(environment: Environment) -> Environment:
    """Return an environment that declares no service any more."""
    return environment.model_copy(update={"services": {}})


@pytest.mark.parametrize("foresee", [foresee_rollback, foresee_restart])
async def test_what_waits_for_a_person_is_the_refusal_that_it_would_be(context: Context, foresee: Callable[[Context, str, str, Show], Awaitable[None]]) -> None:
    await shipped(context, "1")
    await shipped(context, "2")
    down = await context.store.write(operations.create, NewOperation("down", "prod"), at=1.0)
    async with hold(context.store, "prod", down.id) as lease:
        await context.store.write(operations.begin, down.id, lease.token, at=1.0)
    with pytest.raises(Paused, match=rf"operation {down.id} \(down prod\) is half done.*`manor up -e prod`"):
        await foreseen(context, lambda copy, show: foresee(copy, "shop", "prod", show))


async def test_what_would_be_refused_is_refused(context: Context) -> None:
    async def refused(kind: type[ManorError], says: str) -> None:
        with pytest.raises(kind, match=says):
            await foreseen(context, shipping(context, "2"))

    async with hold(context.store, "dev"):
        await refused(Busy, "dev is held")
    stop = Stop()
    stop.request("SIGINT")
    with pytest.raises(Paused):
        await ship(context, "shop", built(context, "1"), Carrying("ada", stop=stop), origin=Origin())
    await refused(Paused, "first `manor resume")
    with pytest.raises(UsageError, match="there is no environment 'test'"):
        await foreseen(context, shipping(context, "2", to="test"))


def test_an_estate_without_any_state_gets_none(opened: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "estate.yaml").write_text(opened.file.read_text())
    with open_context(fresh / "estate.yaml", dry_run=True) as copy:
        assert copy.folder == fresh / ".manor" / "state"
        assert copy.wiring("dev").addressing.hosts["all-1"].address.startswith("127.")
    assert sorted(path.name for path in fresh.iterdir()) == ["estate.yaml"]
    assert str(fresh) not in (tmp_path / "machine").read_text() if (tmp_path / "machine").exists() else True


async def test_what_was_rolled_back_meanwhile_is_shown_to_go_no_further(context: Context) -> None:
    for known in ("1", "2"):
        await shipped(context, known)
    with pytest.raises(Killed):
        await ship(context, "shop", built(context, "3"), Carrying("ada", chaos=KilledAt("delivery-dev", Point.AFTER_DONE)), origin=Origin())
    left = await find_unfinished(context, "shop")
    assert not isinstance(left, Operation)
    await rollback(context, "shop", "dev", Carrying("ben"))
    (shown,) = await foreseen(context, lambda copy, show: foresee_resume(copy, left, left, show))
    assert shown.environment == "prod"
    assert shown.note.startswith("goes no further: ")
    assert not shown.steps


@pytest.mark.thorough  # an instance's deadline passes in real time
async def test_the_way_back_of_a_rollback_that_failed_is_not_taken_for_the_rollback(context: Context, worlds: Worlds) -> None:
    left = await rollback_killed_on_its_way_back(context, worlds)
    certified = await context.store.read(releases.last_certified, "prod", "shop")
    assert certified is not None
    way, own = await foreseen(context, lambda copy, show: foresee_rollback(copy, "shop", "prod", show))
    assert way.note == f"first operation {left.id} (rollback prod/shop), which nobody carries out, is gone on with"
    assert own.note == f"shop {short(certified.id)}"
    assert own.steps


async def test_what_had_certified_its_release_is_shown_to_be_finished(context: Context) -> None:
    left = await killed(context, "certify")
    way, own = await foreseen(context, lambda copy, show: foresee_rollback(copy, "shop", "prod", show))
    assert way.note == f"first operation {left.id} (ship prod/shop), which nobody carries out, is gone on with"
    last, before = (await certified_ids(context, "shop", "prod"))[:2]
    assert own.note == f"shop {short(before)}"
    _, own = await foreseen(context, lambda copy, show: foresee_rollback(copy, "shop", "prod", show, to=last))
    assert own.note == f"that is the rollback: {short(last)} then serves, and it is certified"


async def test_a_restart_that_was_left_is_shown_to_be_turned_round_and_that_is_the_rollback(context: Context) -> None:
    left = await restarted_and_killed(context, "admit")
    way, last = await foreseen(context, lambda copy, show: foresee_rollback(copy, "shop", "prod", show))
    assert way.note == f"first operation {left.id} (restart prod/shop), which nobody carries out, is turned round"
    certified = await context.store.read(releases.last_certified, "prod", "shop")
    assert certified is not None
    assert last.note == f"that is the rollback: {short(certified.id)} then serves, and it is certified"
