"""What was acknowledged is kept until it is delivered or a person has to decide."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from manor.errors import ApplyFailed, Busy, ManorError, Paused, TimedOut, Unreachable, UsageError
from manor.state import deliveries, runs
from manor.state.deliveries import Delivery, Wish
from manor.state.words import DeliveryState, RunState
from manor.workflows import deliveries as workflow
from manor.workflows.context import Context
from manor.workflows.delivery import Delivered
from manor.workflows.handing_in import Deliveries
from manor.workflows.rolling import Carrying

WISH = Wish("ship", "shop", "a" * 64, "dev", actor="ada")


async def nothing_died(_service: str, _carrying: Carrying) -> None:
    """Have nothing to bring to its end."""


async def settled(begun: Deliveries) -> None:
    """Wait until what was begun has ended."""
    for _ in range(500):
        if not begun._under_way:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not end")


class Tries:
    """How a delivery ends each time that it is tried."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.seen: list[str] = []

    async def along(self, _context: Context, delivery: Delivery, carrying: Carrying, *, by_person: bool) -> list[Delivered]:
        self.seen.append(f"{delivery.service} {carrying.actor}")
        assert not by_person, "nobody but a person goes on with what was paused"
        if self.error is not None:
            raise self.error
        return [Delivered("dev", "0123", "")]


async def tried(opened: Context, error: Exception | None, monkeypatch: pytest.MonkeyPatch, wish: Wish = WISH) -> tuple[Deliveries, Tries, str]:
    """Return the deliveries after one try that ended so, the tries, and the delivery's id."""
    tries = Tries(error)
    monkeypatch.setattr(workflow, "along", tries.along)
    noted = await opened.store.write(deliveries.write_down, wish, at=1.0)
    begun = Deliveries(lambda: opened, nothing_died, Carrying("controller"))
    await begun.catch_up()
    await settled(begun)
    return begun, tries, noted.id


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
async def test_it_stays_open_while_trying_again_may_help(
    error: ManorError | OSError | None, is_kept: bool, opened: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, tries, identifier = await tried(opened, error, monkeypatch)
    assert tries.seen == ["shop ada"]
    assert (await opened.store.read(deliveries.get, identifier)).state is (
        DeliveryState.OPEN if is_kept else DeliveryState.FAILED if error else DeliveryState.DONE
    )


async def test_it_is_not_tried_again_at_once(opened: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, tries, _ = await tried(opened, Unreachable("no answer"), monkeypatch)
    await begun.catch_up()
    await settled(begun)
    assert len(tries.seen) == 1
    other = Deliveries(lambda: opened, nothing_died, Carrying("controller"))
    await other.catch_up()
    await settled(other)
    assert len(tries.seen) == 2, "the next controller tries at once"


async def test_what_a_run_delivers_is_its_own_while_it_is_open(opened: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await opened.store.write(runs.record_tip, "shop", "refs/heads/main", "c1", "ada", at=1.0)
    assert run is not None
    begun, tries, _ = await tried(opened, None, monkeypatch, replace(WISH, run=run.id))
    assert tries.seen == []
    await opened.store.write(runs.set_run, run.id, RunState.FAILED, at=2.0)
    await begun.catch_up()
    await settled(begun)
    assert tries.seen == ["shop ada"], "nobody else would go on with it"


@pytest.mark.parametrize("error", [Busy("held by ada"), Paused("first resume"), Unreachable("no answer")])
async def test_who_hands_in_what_has_to_wait_is_told_so_and_nothing_is_refused(error: ManorError, opened: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "along", Tries(error).along)
    noted = await opened.store.write(deliveries.write_down, WISH, at=1.0)
    answer = await Deliveries(lambda: opened, nothing_died, Carrying("controller")).accept(noted)
    assert isinstance(answer, Delivery)
    assert (answer.id, answer.state, answer.summary) == (noted.id, DeliveryState.OPEN, str(error))


async def test_who_hands_in_what_is_refused_hears_why_and_it_is_not_tried_again(opened: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = Tries(UsageError("it failed here before"))
    monkeypatch.setattr(workflow, "along", tries.along)
    noted = await opened.store.write(deliveries.write_down, WISH, at=1.0)
    begun = Deliveries(lambda: opened, nothing_died, Carrying("controller"))
    with pytest.raises(UsageError, match="it failed here before"):
        await begun.accept(noted)
    await begun.catch_up()
    await settled(begun)
    assert len(tries.seen) == 1
    assert (await opened.store.read(deliveries.get, noted.id)).state is DeliveryState.FAILED
