"""No act of a rollout goes where `untouchable` says no: every hand of the fleet is tried (docs/ownership.md)."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from manor.errors import NotOurs
from manor.estate.topology import TrafficState
from manor.execution.guard import Untouchable
from manor.execution.values import Completed
from manor.operations.step import Here
from manor.rollout.fleet import SlotRef
from manor.rollout.live import LiveFleet
from manor.rollout.probing import Prober
from manor.rollout.release import make_release
from tests.reconcile.toys import ROOT, Toy, wiring_of
from tests.rollout.model import ModelClock, World
from tests.rollout.running import InlineStore

SLOT = SlotRef("echo", "web-1", "b")
HERE = Here("op", 1, "op/1", 9, 1, 2_000_000.0, lambda text: None)
HANDS: dict[str, Callable[[LiveFleet, str], Awaitable[object]]] = {
    "place": lambda fleet, release: fleet.place(SLOT, release, HERE),
    "start": lambda fleet, release: fleet.start(SLOT, HERE),
    "stop": lambda fleet, release: fleet.stop(SLOT, HERE),
    "program": lambda fleet, release: fleet.program(SLOT),
    "set_traffic": lambda fleet, release: fleet.set_traffic("echo", {SLOT.server: TrafficState.DRAIN}, HERE),
    "guard": lambda fleet, release: fleet.guard(SLOT, (), HERE),
    "unguard": lambda fleet, release: fleet.unguard(SLOT, HERE),
    "traffic": lambda fleet, release: fleet.traffic(fleet.balancers[0], "echo"),
    "maintenance": lambda fleet, release: fleet.set_maintenance("echo", HERE, on=True),
}


@pytest.fixture
def toy(tmp_path: Path, begin_state: Callable[[Path], Path]) -> Iterator[Toy]:
    with InlineStore.open(begin_state(tmp_path / "state"), ModelClock(World(1, 1, {}))) as store:
        yield Toy(wiring_of(tmp_path), store)


def fleet_of(toy: Toy, folder: Path) -> tuple[LiveFleet, str]:
    """Return the real fleet over the toy host, and a release whose artifact is there."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("app.py"), io.BytesIO(b""))
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    (folder / f"{digest}.tar").write_bytes(packed.getvalue())
    release = make_release("echo", toy.wiring.environment.services["echo"], digest)
    toy.runner.reply("status", Completed(0, json.dumps({"echo-a": "stopped", "echo-b": "stopped"}).encode()))
    return LiveFleet(toy.site, "echo", {release.short: release}, folder, cast(Prober, None), patience_seconds=0.0), release.short


@pytest.mark.parametrize("hand", sorted(HANDS))
async def test_no_hand_of_a_rollout_touches_what_is_not_ours(toy: Toy, tmp_path: Path, hand: str) -> None:
    toy.runner.guard = replace(toy.runner.guard, untouchable=Untouchable(paths=(ROOT,)))
    fleet, release = fleet_of(toy, tmp_path)
    with pytest.raises(NotOurs, match=r"untouchable.paths: /srv/manor/web-1 is not Manor's to touch"):
        await HANDS[hand](fleet, release)
    assert toy.runner.acts == []


async def test_a_check_does_not_knock_at_an_untouchable_port(toy: Toy, tmp_path: Path) -> None:
    toy.runner.guard = replace(toy.runner.guard, untouchable=Untouchable(ports=(18301,)))
    fleet, _ = fleet_of(toy, tmp_path)
    with pytest.raises(NotOurs, match=r"untouchable.ports: 18301 is not Manor's to touch"):
        await fleet.check(SLOT)
    assert toy.runner.acts == []


async def test_hands_leave_what_they_promise(toy: Toy, tmp_path: Path) -> None:
    """The same hands, allowed: file and mark are there, and the host knows the token."""
    fleet, _ = fleet_of(toy, tmp_path)
    await fleet.start(SLOT, HERE)
    wanted = toy.host.layout.slot_wanted("echo", "b")
    assert await toy.runner.digest([wanted])
    await fleet.stop(SLOT, HERE)
    assert not await toy.runner.digest([wanted])
    token = toy.host.layout.token("prod")
    assert await toy.runner.read([token]) == {token: b"9\n"}
