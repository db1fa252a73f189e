"""Whoever listens to a controller hears every operation that it carries out."""

from __future__ import annotations

import pytest

from manor.operations.events import Event, What
from manor.state import runs
from manor.state.deliveries import Wish
from manor.state.releases import Artifact
from manor.workflows import serving
from manor.workflows.context import Context
from manor.workflows.delivery import Delivered
from manor.workflows.rolling import Carrying
from manor.workflows.serving import Controller

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


async def test_what_was_adopted_or_handed_in_is_heard(opened: Context) -> None:
    heard: list[Event] = []
    controller = Controller(opened, listener=heard.append)
    controller.tell(EVENT)
    assert controller.deliveries._carrying.tell == controller.tell
    assert heard == [EVENT]
