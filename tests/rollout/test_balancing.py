"""What is asked of a balancer that was killed and is just starting again (docs/faults.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from manor.errors import Unreachable
from manor.estate.topology import TrafficState
from manor.execution.values import Act, Completed
from manor.rollout.balancing import Balancing
from tests.reconcile.toys import Toy, wiring_of
from tests.rollout.model import ModelClock, World
from tests.rollout.running import InlineStore

SERVERS = {"web-1-a": TrafficState.READY, "web-1-b": TrafficState.READY}


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Toy]:
    with InlineStore.open(tmp_path / "state", ModelClock(World(1, 1, {}))) as store:
        yield Toy(wiring_of(tmp_path), store)


def balancing(toy: Toy) -> Balancing:
    return Balancing(toy.site, "echo", patience_seconds=15.0)


async def traffic(toy: Toy) -> dict[str, TrafficState]:
    found = balancing(toy)
    return {view.name: view.traffic for view in await found.traffic(found.all[0])}


def starting(toy: Toy, seconds: float, *, answers: str) -> None:
    """Have the balancer answer so for some seconds, and by its files afterwards."""
    until = toy.store.clock.now() + seconds

    def servers(_: Act) -> Completed:
        return Completed(0, answers.encode() if toy.store.clock.now() < until else b"ready")

    toy.runner.reply("servers", servers)
    toy.runner.reply("ready", lambda _: Completed(0, b"starting" if toy.store.clock.now() < until else b"ready"))


async def test_an_answer_that_is_none_yet_is_asked_for_again(toy: Toy) -> None:
    starting(toy, 3.0, answers="no answer yet")
    assert await traffic(toy) == SERVERS


async def test_no_traffic_at_all_is_believed_only_of_one_that_has_read_its_files(toy: Toy) -> None:
    starting(toy, 3.0, answers="maint")
    assert await traffic(toy) == SERVERS


async def test_one_that_never_gets_so_far_is_unreachable(toy: Toy) -> None:
    starting(toy, 1000.0, answers="maint")
    with pytest.raises(Unreachable, match="web-1: 0-web-nginx does not answer: starting"):
        await traffic(toy)


async def test_no_traffic_at_all_is_told_of_one_that_works(toy: Toy) -> None:
    toy.runner.reply("servers", Completed(0, b"maint"))
    assert await traffic(toy) == dict.fromkeys(SERVERS, TrafficState.MAINT)
