"""Carries model rollouts out: as often killed as wanted, each time gone on with by another executor."""

from __future__ import annotations

import copy
import itertools
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import sqlalchemy as sa

from manor.estate.model import Health, RolloutRules
from manor.estate.topology import TrafficState
from manor.operations.chaos import Point
from manor.operations.engine import execute
from manor.operations.planning import Result, create, standing
from manor.operations.stop import Stop
from manor.rollout.looking import look_at_instances
from manor.rollout.plan import RolloutOrder, plan_rollout, total_seconds
from manor.rollout.returning import have_it_probed
from manor.state import leases
from manor.state.holder import Holder
from manor.state.leases import Lease
from manor.state.operations import NewOperation
from manor.state.store import Store
from manor.state.words import OperationState
from manor.workflows.rolling import ORDER, ROLLOUT_KINDS, turning_round
from tests.operations.model import gone_but, holder
from tests.rollout.model import ModelClock, ModelFleet, World

P = ParamSpec("P")
T = TypeVar("T")
PIDS = itertools.count(1)
NAMES = itertools.count(1)
WITHIN = "within an act"
EVERY = 6
"""Of so many moments the default run tries one; `thorough` tries all."""


class Killed(BaseException):
    """The executor was killed: nothing of it acts or writes after this."""


class Killer:
    """Kills at the n-th moment: boundaries of the journal and single changes of the world count alike; 0 only counts."""

    def __init__(self, n: int = 0) -> None:
        self.n = n
        self.passed = 0
        self.is_dead = False
        self.where: list[str] = []

    def __call__(self, seq: int, kind: str, point: Point) -> None:
        self.pass_by(f"{seq} {kind} {point}")

    def pass_by(self, where: str = WITHIN) -> None:
        if self.is_dead:
            raise Killed
        self.passed += 1
        self.where.append(where)
        if self.passed == self.n:
            self.is_dead = True
            raise Killed


@dataclass(frozen=True)
class Photo:
    """The store and the world at a moment at which the executor could have been killed."""

    where: str
    store: sqlite3.Connection
    world: World


class Photographer(Killer):
    """Kills nobody, and takes a picture of each moment; one right after another without anything between shows the same."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.photos: list[Photo] = []

    def __call__(self, seq: int, kind: str, point: Point) -> None:
        shown_before = bool(self.photos) and (point is Point.BEFORE_INTENT or (point is Point.AFTER_ACT and self.photos[-1].where == WITHIN))
        if not shown_before:
            self.pass_by(f"{seq} {kind} {point}")

    def pass_by(self, where: str = WITHIN) -> None:
        self.photos.append(Photo(where, self.run.store.photograph(), copy.deepcopy(self.run.world)))


class InlineStore(Store):
    """The store without its threads, on one connection, so that many thousands of small transactions are quick; it can be photographed."""

    @property
    def raw(self) -> sqlite3.Connection:
        """The driver's connection."""
        with self._engine.connect() as connection:
            return cast(sqlite3.Connection, connection.connection.dbapi_connection)

    def photograph(self) -> sqlite3.Connection:
        """Return all that is in it, as it is now."""
        photo = sqlite3.connect(":memory:")
        self.raw.backup(photo)
        return photo

    def restore(self, photo: sqlite3.Connection) -> None:
        """Be again as it was then."""
        photo.backup(self.raw)

    async def write(self, do: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self.write_now(do, *args, **kwargs)

    async def read(self, do: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self.read_now(do, *args, **kwargs)


@dataclass(frozen=True)
class Case:
    """A rollout of `new` in a world."""

    name: str
    world: Callable[[], World]
    expected: OperationState
    rules: RolloutRules = field(default_factory=lambda: quick())
    release: str = "new"
    faults: bool = False
    """Programs end by themselves in traffic: what they had in flight is lost whatever anybody does."""
    is_return: bool = False
    probe_period_seconds: float = 0.0

    def __str__(self) -> str:
        return self.name


def quick(**changes: Any) -> RolloutRules:
    """Return rules with short times."""
    times: dict[str, Any] = {"min_healthy_time": 1.0, "settle": 0.2, "instance_deadline": 8.0, "bake": 1.0, "min_healthy": 0.5}
    return RolloutRules.model_validate(times | changes)


async def order_of(case: Case, world: World, store: Store) -> RolloutOrder:
    """Return what is wanted, from what the world is."""
    rules = case.rules
    slots: Any = ("a", "b") if rules.strategy == "rolling" else ("a",)
    instances = await look_at_instances(ModelFleet(world, store, is_patient=False), "echo", world.hosts, slots)
    filled = tuple(replace(now, release=world.placed.get(f"{now.host}-{now.active}", "")) for now in instances)
    certified = next((release for release, word in world.standing.items() if word == "certified" and release != "new"), "")
    health = Health(http="/healthz", interval=0.5, passes=2)
    order = RolloutOrder("echo", case.release, filled, rules, health, 3.0, rules.bake or 0.0, certified)
    return replace(order, is_return=case.is_return, probe_period_seconds=case.probe_period_seconds)


@dataclass
class Run:
    """One operation in one world, and how its executors go on with it."""

    case: Case
    store: InlineStore
    world: World
    order: RolloutOrder
    operation: str
    lease: str
    stop: Stop = field(default_factory=Stop)

    async def execute(self, killer: Killer) -> Result | None:
        """Go on as another process, until it is killed (None) or ends."""
        self.store.clock = ModelClock(self.world)
        pid = next(PIDS)
        taken = self._take(pid)
        fleet = ModelFleet(self.world, self.store, killer.pass_by)
        back = turning_round(self.store, self.order)
        try:
            result = await execute(
                self.store,
                self.operation,
                fleet,
                ROLLOUT_KINDS,
                taken,
                on_failure=back,
                on_return=partial(have_it_probed, self.store, "echo"),
                stop=self.stop,
                chaos=killer,
            )
        except Killed:
            return None
        self.store.write_now(leases.release, self.lease, taken.token)
        return result

    def _take(self, pid: int) -> Lease:
        who: Holder = holder(pid)
        return self.store.write_now(leases.acquire, self.lease, self.operation, holder=who, now=self.world.now, is_gone=gone_but(pid))

    async def killed_at(self, kills: Sequence[int]) -> Result:
        """Be killed at each of these moments of each executor, then come to an end."""
        self.world.advance(0.5)
        for n in kills:
            ended = await self.execute(Killer(n))
            if ended is not None and ended.operation.state.is_final:
                return ended
            self.world.advance(0.5)
        for _ in range(3):
            result = await self.execute(Killer())
            if result is not None and result.operation.state.is_final:
                return result
        return await standing(self.store, self.operation)


async def begin(case: Case, store: InlineStore) -> Run:
    """Plan a case's rollout as an operation in a world of its own."""
    world = case.world()
    store.clock = ModelClock(world)
    order = await order_of(case, world, store)
    steps = plan_rollout(order)
    environment = f"prod{next(NAMES)}"
    new = NewOperation("ship", environment, "echo", arguments=ORDER.dump_json(order).decode(), deadline=world.now + total_seconds(steps))
    operation = await create(store, new, steps, ROLLOUT_KINDS)
    return Run(case, store, world, order, operation.id, f"{environment}/echo")


def problems_of(run: Run, result: Result) -> list[str]:
    """Return in which ways an end is none that may be accepted; empty: it may."""
    case, world = run.case, run.world
    world.advance(3.0)
    found = [f"{result.operation.state}: {result.operation.summary}"] if result.operation.state is not case.expected else []
    release = case.release if result.operation.state is OperationState.DONE else run.order.certified
    found += [problem for host in world.hosts for problem in host_problems(world, host, release)]
    found += ["the maintenance page is on"] if world.is_maintained else []
    found += [f"{server} is still marked" for server in world.marks]
    found += [f"{server} is half placed" for server in world.half_placed]
    found += ["the probe still runs"] if world.probe.is_asking else []
    found += [f"the lease is held: {lease}" for lease in run.store.read_now(leases.standing) if lease.name == run.lease]
    found += [f"lost {loss}" for loss in world.lost[:3]] + ([] if case.faults else [f"fault {loss}" for loss in world.losses if loss.is_fault][:3])
    is_spared = any(step.kind == "spare" for step in result.steps)
    wanted = "certified" if result.operation.state is OperationState.DONE else None if is_spared else "burned"
    found += [] if world.standing.get(case.release) == wanted else [f"{case.release} is {world.standing.get(case.release)}"]
    return found


def host_problems(world: World, host: str, release: str) -> list[str]:
    """Return what is wrong on one host: it serves the release in its active slot, and nothing else is there."""
    found = []
    active = world.active.get(host)
    if release and (active is None or world.placed.get(f"{host}-{active}") != release):
        found.append(f"{host}: active {active} has {world.placed.get(f'{host}-{active}')}, not {release}")
    if not release and active is not None:
        found.append(f"{host}: {active} is remembered to serve, and nothing does")
    for server in (name for name, slot in world.servers.items() if slot.host == host):
        is_active = bool(active) and server == f"{host}-{active}"
        wanted = TrafficState.READY if is_active else TrafficState.MAINT
        found += [f"{server}: {one.name.host} has it {one.traffic[server]}" for one in world.balancers if one.traffic[server] is not wanted]
        found += [f"{server}: remembered as {world.remembered[server]}"] if world.remembered[server] is not wanted else []
        found += [f"{server}: wanted: {server in world.wanted}"] if (server in world.wanted) is not is_active else []
        found += [f"{server}: orphaned program"] if server in world.programs and not is_active else []
        found += [f"{server}: nothing runs"] if is_active and world.has_program and not world.is_up(server) else []
    return found


async def photographed(case: Case, store: InlineStore) -> tuple[Run, list[Photo]]:
    """Return a case's run, and what each moment looked like at which it can be killed. Requires that it ends well unkilled."""
    run = await begin(case, store)
    photographer = Photographer(run)
    result = await run.execute(photographer)
    assert result is not None
    require_accepted(run, result, "not killed")
    return run, photographer.photos


async def resumed(run: Run, photo: Photo, kills: Sequence[int] = ()) -> Result:
    """Go on from a moment, and come to an end that is accepted."""
    run.store.restore(photo.store)
    run.world = copy.deepcopy(photo.world)
    result = await run.killed_at(kills)
    require_accepted(run, result, f"{photo.where} {kills}")
    return result


def require_accepted(run: Run, result: Result, when: str) -> None:
    """Require an end that may be accepted."""
    found = problems_of(run, result)
    steps = [f"{step.seq} {step.plan} {step.kind} {step.host} {step.outcome} {step.evidence}" for step in result.steps]
    assert not found, "\n".join([f"{run.case}, killed: {when}", *found, *steps])
