"""What a rollout writes down for guards, and what it learns from them, over a runner that only notes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from manor.errors import FencedOff
from manor.estate.model import Health
from manor.estate.topology import ServiceView, SlotServer, TrafficState
from manor.execution.values import HostPath, PutFile
from manor.observe.slots import read_slots, traffic_of
from manor.operations.step import Here
from manor.reconcile.returns import read_marks, returned_traffic, traffic_after
from manor.reconcile.site import fence
from manor.reconcile.switching import write_switch_files
from manor.rollout.fleet import SlotRef
from manor.rollout.guarding import check_data
from manor.rollout.live import LiveFleet
from manor.rollout.probing import Prober
from manor.state import operations
from manor.state.operations import NewOperation
from tests.reconcile.toys import Toy, ToyProxy, wiring_of
from tests.rollout.model import ModelClock, World
from tests.rollout.running import InlineStore

OLD, NEW = SlotRef("echo", "web-1", "a"), SlotRef("echo", "web-1", "b")
READY, DRAIN = TrafficState.READY, TrafficState.DRAIN


@pytest.fixture
def toy(tmp_path: Path, begin_state: Callable[[Path], Path]) -> Iterator[Toy]:
    with InlineStore.open(begin_state(tmp_path / "state"), ModelClock(World(1, 1, {}))) as store:
        yield Toy(wiring_of(tmp_path), store)


def fleet_of(toy: Toy) -> LiveFleet:
    """Return the real fleet over the toy host."""
    return LiveFleet(toy.site, "echo", {}, Path("/nowhere"), cast(Prober, None), guard_seconds=8.0)


def begun(toy: Toy, token: int = 9) -> Here:
    """Return where a step of a new operation is."""
    operation = toy.store.write_now(operations.create, NewOperation("ship", "prod", "echo"), at=toy.store.clock.now())
    toy.store.write_now(operations.begin, operation.id, token, at=toy.store.clock.now())
    return Here(operation.id, 4, "op/4", token, 1, 2_000_000.0, lambda text: None)


def folder(toy: Toy) -> HostPath:
    return toy.host.layout.guard("echo")


async def guards_act(toy: Toy) -> None:
    """Leave the record that guards leave when they have returned all that is marked."""
    marks = await read_marks(toy.runner, folder(toy))
    record = json.dumps({name: {"renewed": mark.renewed, "at": mark.renewed + 60.0} for name, mark in marks.items()}).encode()
    await toy.runner.change([PutFile(folder(toy) / "returned.json", record)])
    toy.traffic |= {server: str(state) for server, state in traffic_after(marks.values(), toy.host.tiers[0].proxy).items()}


async def drained(toy: Toy, fleet: LiveFleet, here: Here) -> None:
    """Take the old slot out as a drain does."""
    await fleet.set_traffic("echo", {OLD.server: READY}, here)
    assert await fleet.guard(OLD, (NEW,), here) == ""
    await fleet.set_traffic("echo", {OLD.server: DRAIN}, here)


async def returned(toy: Toy) -> dict[str, TrafficState]:
    """Return what guards changed and nobody has learnt of."""
    return dict(await returned_traffic(toy.runner, folder(toy), toy.host.tiers[0].proxy))


async def remembered(toy: Toy) -> dict[str, TrafficState]:
    return dict(traffic_of(toy.wiring.service("echo"), await read_slots(toy.store, "prod", "echo")))


async def test_all_that_a_guard_needs_is_written_before_the_mark_is_set(toy: Toy) -> None:
    fleet, here = fleet_of(toy), begun(toy)
    await drained(toy, fleet, here)
    name = f"web-1-a.{here.operation}.4.mark"
    marks = await read_marks(toy.runner, folder(toy))
    assert {key: (mark.server, mark.instead) for key, mark in marks.items()} == {name: (OLD.server, (NEW.server,))}
    ways = json.loads((await toy.runner.read([folder(toy) / "ways.json"]))[folder(toy) / "ways.json"])
    assert [way["servers"] for way in ways["ways"]] == [[OLD.server]]
    state = next(act for act in ways["ways"][0]["acts"] if act["do"] == "put" and act["path"].endswith("/echo"))
    assert "'web-1-a', <TrafficState.READY" in base64.b64decode(state["content"]).decode()
    assert ways["checks"][NEW.server]["path"] == "/healthz"
    assert f"{here.operation}-guard-web-1-a-4" in toy.runner.steps


async def test_what_a_guard_returned_is_learnt_before_anything_is_changed(toy: Toy) -> None:
    """Otherwise a change of another server would take it out again, unseen."""
    fleet, here = fleet_of(toy), begun(toy)
    await drained(toy, fleet, here)
    await guards_act(toy)
    await fleet.set_traffic("echo", {NEW.server: DRAIN}, here)
    assert await remembered(toy) == {OLD.server: READY, NEW.server: DRAIN}
    assert await fleet.unguard(OLD, here)
    assert not await read_marks(toy.runner, folder(toy))


async def test_where_nothing_is_checked_what_failed_in_its_place_is_taken_out(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise both would be ready, and requests would still go to what fails."""
    monkeypatch.setattr(ToyProxy, "traits", replace(ToyProxy.traits, switch_checks=frozenset()))
    fleet, here = fleet_of(toy), begun(toy)
    await fleet.set_traffic("echo", {OLD.server: READY, NEW.server: READY}, here)
    assert await fleet.guard(OLD, (NEW,), here) == ""
    await fleet.set_traffic("echo", {OLD.server: DRAIN}, here)
    after = "[('web-1-a', <TrafficState.READY: 'ready'>), ('web-1-b', <TrafficState.DRAIN: 'drain'>)]"
    ways = json.loads((await toy.runner.read([folder(toy) / "ways.json"]))[folder(toy) / "ways.json"])
    state = next(act for act in ways["ways"][0]["acts"] if act["do"] == "put" and act["path"].endswith("/echo"))
    assert base64.b64decode(state["content"]).decode() == after
    await guards_act(toy)
    await write_switch_files(toy.site, toy.site.tier("web-1", toy.key), toy.runner)
    path = toy.host.tiers[0].node.folders.state / "echo"
    assert (await toy.runner.read([path]))[path].decode() == after
    assert await fleet.unguard(OLD, here)
    assert await remembered(toy) == {OLD.server: READY, NEW.server: DRAIN}


async def test_another_operation_learns_too_and_ends_the_guards_before_it(toy: Toy) -> None:
    fleet, here = fleet_of(toy), begun(toy)
    await drained(toy, fleet, here)
    await guards_act(toy)
    await fleet.set_traffic("echo", {NEW.server: DRAIN}, begun(toy, token=10))
    assert await remembered(toy) == {OLD.server: READY, NEW.server: DRAIN}
    assert not await read_marks(toy.runner, folder(toy))


async def test_an_apply_leaves_what_a_guard_returned_in_traffic(toy: Toy) -> None:
    fleet, here = fleet_of(toy), begun(toy)
    await drained(toy, fleet, here)
    await guards_act(toy)
    path = toy.host.tiers[0].node.folders.state / "echo"
    assert b"'web-1-a', <TrafficState.DRAIN" in (await toy.runner.read([path]))[path]
    await write_switch_files(toy.site, toy.site.tier("web-1", toy.key), toy.runner)
    assert b"'web-1-a', <TrafficState.READY" in (await toy.runner.read([path]))[path]


async def test_marks_are_renewed_while_somebody_waits(toy: Toy) -> None:
    fleet, here = fleet_of(toy), begun(toy)
    await drained(toy, fleet, here)
    first = next(iter((await read_marks(toy.runner, folder(toy))).values())).renewed
    for _ in range(30):
        await fleet.sleep(0.1)
    mark = next(iter((await read_marks(toy.runner, folder(toy))).values()))
    assert first + 1.9 <= mark.renewed <= toy.store.clock.now()
    await guards_act(toy)
    assert await returned(toy) == {OLD.server: READY}
    await fleet.set_traffic("echo", {OLD.server: DRAIN}, here)
    assert await returned(toy) == {}, "learnt, and renewed"


async def test_marks_are_not_renewed_by_who_was_succeeded(toy: Toy) -> None:
    """It waits, is stopped for longer than its lease lives, and wakes up: the marks are another's by now."""
    fleet, here = fleet_of(toy), begun(toy)
    await drained(toy, fleet, here)
    before = await read_marks(toy.runner, folder(toy))
    await fence(toy.host, toy.runner, "state-1", "prod", here.token + 1)
    await toy.store.clock.sleep(4.0)
    with pytest.raises(FencedOff):
        await fleet.sleep(1.0)
    assert await read_marks(toy.runner, folder(toy)) == before


async def test_a_guard_that_cannot_be_is_told_and_nothing_is_marked(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(view: ServiceView, server: object) -> object:
        return check_data(replace(view, health=Health(command="true")), cast(SlotServer, server))

    monkeypatch.setattr("manor.rollout.guarding.check_data", refuse)
    fleet, here = fleet_of(toy), begun(toy)
    assert await fleet.guard(OLD, (), here) == "no guard on web-1: it can't run the service's health command"
    assert not await read_marks(toy.runner, folder(toy))
