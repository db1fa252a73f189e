"""`manor down`: every lease before anything is ended; killed at every moment, whoever goes on ends it; nothing revives what is being ended."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import sqlalchemy as sa

from manor.errors import ApplyFailed, Busy, NotRestored, Refused, UsageError
from manor.execution.values import PutFile
from manor.operations.chaos import Point
from manor.operations.engine import execute
from manor.operations.leasing import hold
from manor.operations.planning import Result, create
from manor.operations.step import Here
from manor.state import audit, journal, leases, lock, operations, places
from manor.state.holder import process_start, this_process
from manor.state.leases import Lease
from manor.state.operations import NewOperation, Operation
from manor.state.store import Store
from manor.state.words import OperationState, Outcome
from manor.workflows import down, housekeeping
from manor.workflows.context import Context
from manor.workflows.down import Extent, finish_downs, purge_state, take_down
from manor.workflows.ending_hosts import DOWN_KINDS, LiveEnding, plan_down, unfinished_down
from manor.workflows.resuming import require_ended_well, resume_operation
from manor.workflows.rolling import Carrying
from tests.operations.model import take
from tests.reconcile.test_parts import PartToy
from tests.reconcile.toys import wiring_of
from tests.rollout.conftest import without_fsync
from tests.rollout.running import InlineStore

HOSTS = ("edge-1", "web-1", "web-2")
PARTS = (("edge-1", "0-balancer-haproxy"), ("web-1", "1-web-nginx"))
ADA = Carrying("ada")


class Killed(BaseException):
    """The executor was killed."""


@dataclass
class ModelEnding:
    """An environment whose hosts are three things each: guards, programs, traces; each change may be the last before a kill."""

    mutated: Callable[[str], None] = lambda _where: None
    left: dict[str, list[str]] = field(default_factory=lambda: {host: ["guards", "programs", "traces"] for host in HOSTS})
    probes: int = 2
    has_addresses: bool = True
    stubborn: str = ""
    acts: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=lambda: [key for _, key in PARTS])
    needed: str = ""
    """The part without which the files of somebody else don't hold."""
    goes_on: str = ""
    """The part whose program goes on with our file."""

    async def require_dispensable(self, host: str, key: str, here: Here) -> None:
        assert len(self.parts) == len(PARTS), "judged after something was taken out"
        if key == self.needed:
            raise Refused(f"{key}: without Manor's your files are refused")

    async def end_part(self, host: str, key: str, here: Here) -> str:
        assert all(len(left) == 3 for left in self.left.values()), "taken out after something behind it had ended"
        if key == self.goes_on:
            raise NotRestored(f"{key}: your program went on with Manor's file")
        if key in self.parts:
            assert self.parts[0] == key, "an inner part before an outer one"
            self.parts.remove(key)
            self.mutated(key)
        return "removed"

    async def end_probes(self) -> int:
        self.probes = 0
        self.mutated("probes")
        return 2

    async def is_up(self, host: str) -> bool:
        return bool(self.left[host])

    async def end_host(self, host: str, here: Here) -> str:
        assert self.has_addresses, "ended after its addresses were given back"
        if host == self.stubborn:
            raise ApplyFailed(f"{host}: it still answers")
        while self.left[host]:
            self.acts.append(f"{host} {self.left[host].pop(0)}")
            self.mutated(host)
        return "ended"

    async def has_place(self) -> bool:
        return self.has_addresses

    async def give_back(self) -> None:
        assert not any(self.left.values()), "given back under running programs"
        self.has_addresses = False
        self.mutated("addresses")

    @property
    def is_down(self) -> bool:
        return not any(self.left.values()) and not self.parts and not self.has_addresses and not self.probes


class Killer:
    """Kills at the n-th moment, counting boundaries of the journal and single changes alike; 0 only counts."""

    def __init__(self, n: int = 0) -> None:
        self.n, self.passed, self.is_dead = n, 0, False

    def __call__(self, _seq: int, kind: str, point: Point) -> None:
        self.pass_by(f"{kind} {point}")

    def pass_by(self, _where: str) -> None:
        if self.is_dead:
            raise Killed
        self.passed += 1
        if self.passed == self.n:
            self.is_dead = True
            raise Killed


async def begun(store: Store, environment: str) -> Operation:
    return await create(store, NewOperation("down", environment, actor="ada"), plan_down(HOSTS, PARTS), DOWN_KINDS)


async def carried_out(store: Store, operation: Operation, model: ModelEnding, pid: int, killer: Killer) -> Result:
    model.mutated = killer.pass_by
    return await execute(store, operation.id, model, DOWN_KINDS, take(store, operation.environment, operation.id, pid), chaos=killer, budget=len(HOSTS))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store without its threads and its waiting for the disk."""
    with InlineStore.open(tmp_path / "model") as store:
        sa.event.listen(store._engine, "connect", without_fsync)
        store._engine.dispose()
        yield store


async def test_killed_at_every_moment_the_next_one_ends_it(store: Store) -> None:
    counting = Killer()
    assert (await carried_out(store, await begun(store, "counted"), ModelEnding(), 1, counting)).operation.state is OperationState.DONE
    assert counting.passed > 30
    for n in range(1, counting.passed + 1):
        operation, model = await begun(store, f"killed-{n}"), ModelEnding()
        with pytest.raises(Killed):
            await carried_out(store, operation, model, 1, Killer(n))
        result = await carried_out(store, operation, model, 2, Killer())
        assert result.operation.state is OperationState.DONE, n
        assert model.is_down, n
        assert len(model.acts) == len(set(model.acts)) == 9, n


async def test_a_host_that_does_not_end_keeps_the_addresses_and_the_others_end(store: Store) -> None:
    model = ModelEnding(stubborn="web-1")
    result = await carried_out(store, await begun(store, "stubborn"), model, 1, Killer())
    assert result.operation.state is OperationState.FAILED
    assert {step.host: step.outcome for step in result.steps if step.host} == {"edge-1": Outcome.OK, "web-1": Outcome.FAILED, "web-2": Outcome.OK}
    assert (model.left["web-2"], model.has_addresses) == ([], True)
    with pytest.raises(NotRestored, match="web-1: it still answers"):
        require_ended_well(result)


async def test_files_of_somebody_else_that_need_ours_stop_it_before_anything_ends(store: Store) -> None:
    model = ModelEnding(needed="1-web-nginx")
    result = await carried_out(store, await begun(store, "needed"), model, 1, Killer())
    assert result.operation.state is OperationState.FAILED
    assert (model.acts, len(model.parts), model.has_addresses) == ([], 2, True)
    with pytest.raises(Refused, match=r"^1-web-nginx: without Manor's your files are refused$"):
        require_ended_well(result)


async def test_a_program_of_somebody_else_that_goes_on_with_our_file_keeps_what_is_behind_it(store: Store) -> None:
    model = ModelEnding(goes_on="1-web-nginx")
    result = await carried_out(store, await begun(store, "goes-on"), model, 1, Killer())
    assert (model.acts, model.parts, model.has_addresses) == ([], ["1-web-nginx"], True)
    with pytest.raises(NotRestored, match="went on with Manor's file"):
        require_ended_well(result)


def test_parts_go_the_outermost_first_and_hosts_after_them() -> None:
    stages = [(planned.stage, planned.step.kind) for planned in plan_down(HOSTS, PARTS)]
    assert stages == [
        (0, "end-probes"),
        *[(1, "judge-part")] * 2,
        (2, "end-part"),
        (3, "end-part"),
        *[(4, "end-host")] * 3,
        (5, "give-back"),
    ]
    assert [planned.stage for planned in plan_down(HOSTS)] == [0, 1, 1, 1, 2]


async def test_where_nothing_may_be_started_no_supervisor_is_asked(store: Store, tmp_path: Path) -> None:
    part = PartToy(wiring_of(tmp_path), store)
    part.runner.files.carry_out(PutFile(part.host.layout.exec, b"wrapper"))
    ending = LiveEnding(cast("Context", SimpleNamespace(store=store)), "prod")
    ending.site = replace(part.site, hosts={"web-1": replace(part.host, is_supervised=False)})
    assert not await ending.is_up("web-1")
    part.runner.files.carry_out(PutFile(part.host.layout.loaded(part.key), b"d1"))
    assert await ending.is_up("web-1")
    assert await ending.end_host("web-1", Here("op", 1, "op/1", 9, 1, 2_000_000.0, lambda _text: None)) == "ended"
    assert not await ending.is_up("web-1")
    assert not [act for act in part.runner.acts if "toyd" in str(act)]


@dataclass
class Machine:
    """What was really done."""

    ended: list[str] = field(default_factory=list)
    controllers: int = 0
    revived: list[str] = field(default_factory=list)
    dies_at: str = ""


@pytest.fixture
def machine(opened: Context, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Two environments that are up, without a process."""
    machine = Machine()
    for name in ("dev", "prod"):
        opened.wiring(name)

    async def end_probes(ending: LiveEnding) -> int:
        machine.ended.append(f"{ending.environment} probes")
        return 0

    async def end_host(ending: LiveEnding, host: str, _here: Here) -> str:
        machine.ended.append(f"{ending.environment} {host}")
        return "ended"

    async def is_up(ending: LiveEnding, host: str) -> bool:
        return f"{ending.environment} {host}" not in machine.ended

    async def stop_controller(_context: Context) -> bool:
        machine.controllers += 1
        return True

    async def dead(site: Any) -> list[Any]:
        return list(site.hosts.values())

    async def start(host: Any, _runner: Any) -> None:
        machine.revived.append(host.name)

    for name, fake in (("end_probes", end_probes), ("end_host", end_host), ("is_up", is_up)):
        monkeypatch.setattr(LiveEnding, name, fake)
    monkeypatch.setattr(down, "stop_controller", stop_controller)
    monkeypatch.setattr(housekeeping, "dead_supervisors", dead)
    monkeypatch.setattr(housekeeping, "start_supervisor", start)
    monkeypatch.setattr(lock, "WAIT_SECONDS", 0.0)
    return machine


def up(context: Context) -> list[str]:
    return [place.name for place in context.store.read_now(places.environments)]


async def test_while_a_rollout_runs_nothing_at_all_is_ended(opened: Context, machine: Machine) -> None:
    parent = replace(this_process(), pid=os.getppid(), process_started=process_start(os.getppid()) or 0)
    opened.store.write_now(leases.acquire, "prod/shop", "rollout", holder=parent, now=opened.store.clock.now())
    with pytest.raises(Busy, match="prod/shop is held for operation rollout"):
        await take_down(opened, Extent(("dev", "prod"), ends_controller=True), ADA)
    assert machine == Machine()
    assert up(opened) == ["dev", "prod"]
    assert [lease.name for lease in opened.store.read_now(leases.standing)] == ["prod/shop"]


async def test_it_is_an_operation_with_journal_and_audit(opened: Context, machine: Machine) -> None:
    results = await take_down(opened, Extent(("dev", "prod"), ends_controller=True), ADA)
    assert machine.ended == ["dev probes", "dev all-1", "prod probes", "prod edge-1", "prod web-1", "prod web-2"]
    assert (machine.controllers, up(opened)) == (1, [])
    operation = results["prod"].operation
    assert [(step.kind, step.host, step.outcome) for step in opened.store.read_now(journal.steps, operation.id)] == [
        ("end-probes", "", Outcome.OK),
        *[("end-host", host, Outcome.OK) for host in HOSTS],
        ("give-back", "", Outcome.OK),
    ]
    lines = opened.store.read_now(audit.lines, operation=operation.id)
    assert [(line.actor, line.verb, line.object, line.after) for line in lines][-1] == ("ada", "down", "prod", "done")
    assert await take_down(opened, Extent(("dev", "prod")), ADA) == {}


async def test_an_apply_that_somebody_left_ends_with_it(opened: Context, machine: Machine) -> None:
    left = opened.store.write_now(operations.create, NewOperation("apply", "prod", estate_digest=opened.estate.digest), at=1.0)
    token = take(opened.store, "prod", left.id).token
    opened.store.write_now(operations.begin, left.id, token, at=1.0)
    opened.store.write_now(leases.release, "prod", token)
    results = await take_down(opened, Extent(("prod",)), ADA)
    ended = opened.store.read_now(operations.get, left.id)
    assert (ended.state, ended.summary) == (OperationState.ABANDONED, "the environment was taken down")
    assert results["prod"].operation.state is OperationState.DONE
    opened.store.read_now(operations.require_none_unfinished, "prod")


async def killed_half_way(context: Context) -> None:
    def die(_seq: int, kind: str, point: Point) -> None:
        if (kind, point) == ("end-host", Point.AFTER_ACT):
            raise Killed

    with pytest.raises(Killed):
        await take_down(context, Extent(("prod",)), replace(ADA, chaos=die))


async def test_what_is_being_taken_down_is_not_revived_and_the_next_down_ends_it(opened: Context, machine: Machine) -> None:
    await killed_half_way(opened)
    assert await unfinished_down(opened.store, "prod") is not None
    said = await housekeeping.revive(opened)
    assert machine.revived == ["all-1"], said
    await take_down(opened, Extent(("prod",)), ADA)
    assert up(opened) == ["dev"]
    assert [one.state for one in opened.store.read_now(operations.recent, "prod")] == [OperationState.DONE]


async def test_resume_and_up_go_on_with_it(opened: Context, machine: Machine) -> None:
    await killed_half_way(opened)
    half = await unfinished_down(opened.store, "prod")
    assert half is not None
    result = await resume_operation(opened, half, ADA)
    require_ended_well(result)
    assert up(opened) == ["dev"]
    opened.wiring("prod")
    machine.ended.clear()
    await killed_half_way(opened)
    await finish_downs(opened, ("dev", "prod"), ADA)
    assert up(opened) == ["dev"]


async def test_up_that_waited_for_a_down_begins_no_other(opened: Context, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever held the lease has ended it meanwhile."""
    await killed_half_way(opened)

    @asynccontextmanager
    async def waited(*words: Any, **names: Any) -> AsyncIterator[Lease]:
        monkeypatch.setattr(down, "hold", hold)
        assert names == {"wait_seconds": 30.0}
        await take_down(opened, Extent(("prod",)), ADA)
        async with hold(*words, **names) as lease:
            yield lease

    monkeypatch.setattr(down, "hold", waited)
    await finish_downs(opened, ("prod",), replace(ADA, wait_seconds=30.0))
    assert [one.state for one in opened.store.read_now(operations.recent, "prod")] == [OperationState.DONE]


async def test_a_purge_that_others_would_miss_is_refused(opened: Context, machine: Machine) -> None:
    with pytest.raises(UsageError, match="--purge removes the whole state, and prod is still up"):
        await take_down(opened, Extent(("dev",), purges=True), ADA)
    assert (machine, up(opened)) == (Machine(), ["dev", "prod"])


async def test_a_purge_waits_for_nobody_who_has_the_state_open(opened: Context, machine: Machine) -> None:
    with Store.open(opened.folder), pytest.raises(Busy, match="is open in another process"):
        await take_down(opened, Extent(("dev", "prod"), purges=True), ADA)
    assert machine.ended == []
    await take_down(opened, Extent(("dev", "prod"), purges=True), ADA)
    with pytest.raises(Busy, match="is being migrated or restored"):
        lock.share(opened.store.folder.lock)
    purge_state(opened)
    assert not opened.folder.exists()
