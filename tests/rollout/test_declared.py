"""A rollout begins from what was planned: tiers that do not work by the declared files stand in its way (docs/rollout.md, preflight)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from manor.execution.values import PutFile
from manor.rollout.fleet import SlotRef
from manor.rollout.framing import Preflight
from manor.rollout.plan import plan_rollout
from tests.reconcile.toys import Toy, wiring_of
from tests.rollout.cases import case
from tests.rollout.model import ModelClock, World
from tests.rollout.running import InlineStore, begin
from tests.rollout.test_untouchable import fleet_of

B = SlotRef("echo", "web-1", "b")
WAY = "`manor plan -e prod` shows it, `manor apply -e prod` mends it; nothing is rolled out past what was planned"


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Toy]:
    with InlineStore.open(tmp_path / "state", ModelClock(World(1, 1, {}))) as store:
        yield Toy(wiring_of(tmp_path), store)


async def write(toy: Toy, text: str, loaded: str = "") -> None:
    """Have the tier's file as it is somewhere, and told of as it is."""
    tier = toy.host.tiers[0]
    await toy.runner.change([PutFile(tier.node.folders.etc / "toy.conf", text.encode())])
    await toy.runner.change([PutFile(toy.host.layout.loaded(toy.key), (loaded or tier.digest).encode())])


async def test_what_the_estate_declares_and_what_lies_there_are_the_same_or_nothing_begins(toy: Toy, tmp_path: Path) -> None:
    fleet, _ = fleet_of(toy, tmp_path)
    assert await fleet.undeclared((B,)) == (f"web-1: {toy.key} does not have the files that the estate declares (toy.conf); {WAY}",)
    await write(toy, "old")
    assert await fleet.undeclared((B,)) == ()
    await write(toy, "old, mended by hand at night")
    assert await fleet.undeclared((B,)) == (f"web-1: {toy.key} does not have the files that the estate declares (toy.conf); {WAY}",)
    await write(toy, "old", "another digest")
    assert await fleet.undeclared((B,)) == (f"web-1: {toy.key} has files that it was not told of yet; {WAY}",)


async def test_a_rollback_is_not_kept_by_what_somebody_changed(rollouts: InlineStore) -> None:
    order = (await begin(case("strict"), rollouts)).order
    for is_return in (False, True):
        (first, *_) = [planned.step for planned in plan_rollout(replace(order, is_return=is_return))]
        assert isinstance(first, Preflight)
        assert first.is_strict is not is_return
