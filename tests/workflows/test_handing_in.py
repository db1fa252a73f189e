"""What was acknowledged is kept until it is delivered or a person has to decide."""

from __future__ import annotations

import asyncio

import pytest

from manor.errors import ApplyFailed, Busy, ManorError, Paused, TimedOut, Unreachable, UsageError
from manor.workflows import handing_in
from manor.workflows.context import Context
from manor.workflows.delivery import Delivered
from manor.workflows.handing_in import NOTE, Deliveries, Note
from manor.workflows.rolling import Carrying

NOTED = Note("shop", "a" * 64, "", "ada")


async def nothing_died(_service: str, _carrying: Carrying) -> None:
    """Have nothing to bring to its end."""


async def tried(opened: Context, error: Exception | None, monkeypatch: pytest.MonkeyPatch) -> tuple[Deliveries, list[int]]:
    """Return the deliveries after one try that ended so, and how often it was tried."""
    tries: list[int] = []

    async def deliver(*_: object, **_more: object) -> list[Delivered]:
        tries.append(1)
        if error is not None:
            raise error
        return []

    monkeypatch.setattr(handing_in, "deliver", deliver)
    deliveries = Deliveries(lambda: opened, nothing_died, Carrying("controller"))
    deliveries.folder.mkdir(exist_ok=True)
    (deliveries.folder / NOTED.name).write_bytes(NOTE.dump_json(NOTED))
    await deliveries.catch_up()
    for _ in range(5):
        await asyncio.sleep(0)
    return deliveries, tries


@pytest.mark.parametrize(
    ("error", "is_kept"),
    [
        (None, False),
        (ApplyFailed("turned round"), False),
        (UsageError("burned"), False),
        (Busy("held"), True),
        (Paused("first resume"), True),
        (TimedOut("slow"), True),
        (Unreachable("no answer"), True),
        (OSError("disk full"), True),
    ],
)
async def test_a_note_stays_while_trying_again_may_help(
    error: ManorError | OSError | None, is_kept: bool, opened: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliveries, _ = await tried(opened, error, monkeypatch)
    assert [path.name for path in deliveries.folder.iterdir()] == ([NOTED.name] if is_kept else [])


async def test_it_is_not_tried_again_at_once(opened: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    deliveries, tries = await tried(opened, Unreachable("no answer"), monkeypatch)
    await deliveries.catch_up()
    await asyncio.sleep(0)
    assert len(tries) == 1
    await Deliveries(lambda: opened, nothing_died, Carrying("controller")).catch_up()
    await asyncio.sleep(0)
    assert len(tries) == 2, "the next controller tries at once"
