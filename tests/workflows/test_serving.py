"""Whoever listens to a controller hears every operation that it carries out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from manor.operations.chaos import Point
from manor.operations.events import Event, What
from manor.state import deliveries, leases, operations, releases, runs
from manor.state.deliveries import Wish
from manor.state.releases import Artifact
from manor.state.words import OperationState
from manor.workflows import serving
from manor.workflows.artifacts import Origin
from manor.workflows.context import Context
from manor.workflows.deliveries import ship
from manor.workflows.delivery import Delivered
from manor.workflows.rollback import rollback
from manor.workflows.rolling import Carrying
from manor.workflows.serving import Controller
from tests.rollout.running import Killed
from tests.workflows.modelled import KilledAt

EVENT = Event(What.DONE, 1.0, "op-1", "shop a", kind="admit")


async def test_what_a_run_delivers_is_in_its_log_and_heard(opened: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    async def deliver(_context: Context, _wish: Wish, carrying: Carrying) -> list[Delivered]:
        carrying.tell(EVENT)
        return []

    monkeypatch.setattr(serving, "deliver", deliver)
    heard: list[Event] = []
    controller = Controller(opened, listener=heard.append)
    run = await opened.store.write(runs.record_tip, "shop", "refs/heads/main", "c1", "ada", at=1.0)
    assert run is not None
    (opened.store.folder.runs / run.id).mkdir()
    await controller.deliver_run(run, Artifact("a" * 64, "shop", 1, "c1", "", run.id, "{}", 1.0))
    assert heard == [EVENT]
    assert (opened.store.folder.runs / run.id / "deliver.log").read_text() == "admit  shop a\n"


def built(context: Context, version: str) -> Path:
    """Return an artifact's folder."""
    folder = context.file.parent / f"built-{version}"
    folder.mkdir()
    (folder / "VERSION").write_text(version)
    return folder


async def ended(tell: Callable[[], bool]) -> None:
    """Wait until what goes on in the background has ended."""
    for _ in range(2000):
        if tell():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it does not end")


def is_all_done(context: Context, verb: str, count: int) -> bool:
    """Tell whether so many operations of a verb are done, and nothing is left of them."""
    found = [row.state for row in context.store.read_now(operations.recent) if row.verb == verb]
    return found == [OperationState.DONE] * count and not context.store.read_now(leases.standing)


async def test_what_was_adopted_is_heard(context: Context) -> None:
    for version in ("1", "2"):
        await ship(context, "shop", built(context, version), Carrying("ada"), origin=Origin(commit=version), to="dev")
    now = context.store.read_now(releases.last_certified, "dev", "shop")
    assert now is not None
    first = context.store.read_now(releases.last_certified, "dev", "shop", but=now.id)
    assert first is not None
    with pytest.raises(Killed):
        await rollback(context, "shop", "dev", Carrying("ada", chaos=KilledAt("place", Point.AFTER_ACT)), to=first.id)
    heard: list[Event] = []
    controller = Controller(context, listener=heard.append)
    await controller.adopt()
    await ended(lambda: is_all_done(context, "rollback", 1))
    (operation,) = [row for row in context.store.read_now(operations.recent) if row.verb == "rollback"]
    told = [(event.operation, event.kind) for event in heard if event.what is What.DONE]
    assert {name for name, _ in told} == {operation.id}
    assert told[-1][1] == "certify"


async def test_what_was_handed_in_is_heard(context: Context) -> None:
    heard: list[Event] = []
    controller = Controller(context, listener=heard.append)
    begun = await controller.hand_in("shop", built(context, "1"), Origin(commit="1"), to="", actor="ada")
    await ended(lambda: is_all_done(context, "ship", 2) and not context.store.read_now(deliveries.unfinished))
    done = [event for event in heard if event.what is What.DONE and event.kind == "certify"]
    assert [event.operation for event in done] == [row.id for row in reversed(context.store.read_now(operations.recent))]
    assert begun.id == done[0].operation
