"""`manor up` waits for a lease that somebody else holds, and then does what is still to be done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from manor.errors import Busy, DifferencesFound
from manor.execution.values import PutFile
from manor.state import leases
from manor.state.words import OperationState
from manor.workflows import up
from manor.workflows.context import Context
from manor.workflows.rolling import Carrying
from manor.workflows.up import bring_up
from tests.operations.model import take
from tests.reconcile.many import WEB, ManyToys, wiring_of
from tests.rollout.model import ModelClock, World
from tests.rollout.running import InlineStore


@dataclass(frozen=True)
class Somebody(ModelClock):
    """Holds the lease until a moment; whoever waits lets time pass."""

    held: dict[float, Callable[[], None]] = field(default_factory=dict)
    """When it lets go, and how."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        for moment in [moment for moment in self.held if moment <= self.now()]:
            self.held.pop(moment)()


@dataclass(frozen=True)
class Held:
    """Hosts whose lease somebody holds."""

    toys: ManyToys
    clock: Somebody
    context: Context

    def hold(self, seconds: float, *meanwhile: Callable[[], None]) -> None:
        """Have somebody hold the lease so long, and do something before it is let go."""
        lease = take(self.toys.store, "prod", "20260131t090000-1a2b3c")

        def let_go() -> None:
            for work in meanwhile:
                work()
            self.toys.store.write_now(leases.release, "prod", lease.token)

        self.clock.held[self.clock.now() + seconds] = let_go

    async def up(self, wait_seconds: float = 0.0) -> OperationState | None:
        """Bring it up, and return how that ended; None: nothing was to be done."""
        result = (await bring_up(self.context, ("prod",), Carrying("ada", wait_seconds=wait_seconds)))["prod"]
        return None if result is None else result.operation.state


@pytest.fixture
def held(tmp_path: Path, begin_state: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    clock = Somebody(World(1, 1, {}))
    with InlineStore.open(begin_state(tmp_path / "state"), clock) as store:
        toys = ManyToys(wiring_of(tmp_path, 1, 2), store)
        estate, environment = toys.wiring.estate, toys.wiring.environment
        of = {"site": lambda _: toys.site, "environment": lambda _: environment, "wiring": lambda _: toys.wiring}
        monkeypatch.setattr(up, "keep_estate", lambda _: None)
        yield Held(toys, clock, cast(Context, SimpleNamespace(store=store, estate=estate, **of)))


async def test_without_wait_it_is_told_who_holds_it(held: Held) -> None:
    held.hold(20)
    with pytest.raises(Busy, match=r"prod is held for operation .*; `--wait` waits"):
        await held.up()


async def test_it_waits_until_the_lease_is_free(held: Held) -> None:
    held.hold(20)
    assert await held.up(wait_seconds=30) is OperationState.DONE
    assert await held.up() is None


async def test_it_waits_no_longer_than_it_was_told(held: Held) -> None:
    held.hold(20)
    began = held.clock.now()
    with pytest.raises(Busy):
        await held.up(wait_seconds=10)
    assert held.clock.now() - began == pytest.approx(10, abs=1)


async def test_what_changed_while_it_waited_is_planned_anew(held: Held) -> None:
    assert await held.up() is OperationState.DONE
    held.toys.texts[WEB] = "new"
    held.hold(20, lambda: drift(held.toys))
    assert await held.up(wait_seconds=30) is OperationState.DONE
    assert [held.toys.text(name) for name in ("web-01", "web-02")] == ["new", "new"]
    assert await held.up() is None


async def test_what_moves_while_nobody_waits_is_told(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    async def moved(*_: object) -> None:
        raise DifferencesFound("prod has changed since it was looked at")

    monkeypatch.setattr("manor.workflows.applying.require_unmoved", moved)
    with pytest.raises(DifferencesFound):
        await held.up()


def drift(toys: ManyToys) -> None:
    """Have the holder of the lease change a file."""
    toys.runners["web-02"].files.carry_out(PutFile(toys.host("web-02").tiers[0].files[0].path, b"theirs"))
