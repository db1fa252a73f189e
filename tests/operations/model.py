"""A model world in unit time: hosts are cells of a dict, steps set them, and the executor can be killed at any boundary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from manor.operations.chaos import Point
from manor.operations.engine import OnFailure, execute, no_revert
from manor.operations.events import Event
from manor.operations.planning import Result
from manor.operations.step import Here, Holds, Planned, Step, StepKinds
from manor.operations.stop import Stop
from manor.state import leases
from manor.state.holder import Holder
from manor.state.leases import Lease
from manor.state.store import Store

P = ParamSpec("P")
T = TypeVar("T")


class Killed(BaseException):
    """The executor was killed: nothing of it may act or write after this."""


class FakeClock:
    """A clock that moves only when told to, or, when `is_free`, by each sleep."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.time = now
        self.waiting: list[tuple[float, Callable[[], None]]] = []
        self.is_awaited = asyncio.Event()

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        with self.alarm(seconds, woken.set):
            await woken.wait()

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[object]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None) as limit:
            with self.alarm(seconds, lambda: limit.reschedule(loop.time())):
                yield limit

    @contextmanager
    def alarm(self, seconds: float, ring: Callable[[], None]) -> Iterator[None]:
        entry = (self.time + seconds, ring)
        self.waiting.append(entry)
        self.is_awaited.set()
        try:
            yield
        finally:
            if entry in self.waiting:
                self.waiting.remove(entry)

    async def until_somebody_waits(self) -> None:
        """Return when somebody begins to wait."""
        self.is_awaited.clear()
        if not self.waiting:
            await asyncio.wait_for(self.is_awaited.wait(), 5)

    def advance(self, seconds: float) -> None:
        """Move on, and ring what is due."""
        self.time += seconds
        for entry in [entry for entry in self.waiting if entry[0] <= self.time]:
            self.waiting.remove(entry)
            entry[1]()


@dataclass
class World:
    """What really is, whoever looks."""

    cells: dict[str, str] = field(default_factory=dict)
    acts: list[str] = field(default_factory=list)
    failing: dict[str, Exception] = field(default_factory=dict)
    """Hosts on which acts raise."""
    half_done: set[str] = field(default_factory=set)
    """Hosts on which a kill after the intent leaves the cell half written."""
    hanging: set[str] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True)
class SetCell(Step[World]):
    """Turns a cell from one value to another; doing it twice shows in `acts`."""

    kind = "set-cell"
    host: str
    before: str = ""
    after: str
    timeout_seconds: float = 300.0

    @property
    def text(self) -> str:
        return f"{self.before or 'nothing'} -> {self.after}"

    async def observe(self, ports: World, here: Here) -> Holds:
        found = ports.cells.get(self.host, "")
        if found == self.after:
            return Holds.post(f"is {found}")
        return Holds.pre() if found == self.before else Holds.neither(f"is {found!r}")

    async def act(self, ports: World, here: Here) -> str:
        assert ports.cells.get(self.host, "") == self.before, "done although the precondition did not hold"
        if self.host in ports.failing:
            raise ports.failing[self.host]
        if self.host in ports.hanging:
            await asyncio.Event().wait()
        if self.host in ports.half_done:
            ports.half_done.remove(self.host)
            ports.cells[self.host] = "half"
            raise Killed
        here.say("setting")
        ports.cells[self.host] = self.after
        ports.acts.append(f"{here.key} {here.token}")
        return f"set to {self.after}"


@dataclass(frozen=True, kw_only=True)
class SetCellBack(SetCell):
    """As SetCell, but a half-written cell can be taken back."""

    kind = "set-cell-back"

    async def compensate(self, ports: World, here: Here) -> str:
        ports.cells[self.host] = self.before
        return "emptied"


KINDS = StepKinds[World]([SetCell, SetCellBack])


class KillAt:
    """Kills at the n-th boundary, counted over the whole operation; counts them when n is 0."""

    def __init__(self, n: int = 0) -> None:
        self.n = n
        self.passed = 0
        self.is_dead = False

    def __call__(self, seq: int, kind: str, point: Point) -> None:
        if self.is_dead:
            raise Killed
        self.passed += 1
        if self.passed == self.n:
            self.is_dead = True
            raise Killed


class DyingStore(Store):
    """A store whose process dies at its n-th write, before or after it is durable; counts them when n is 0."""

    n = 0
    is_after = False
    writes = 0
    is_dead = False

    async def write(self, do: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.writes += 1
        self.live(is_due=self.writes == self.n and not self.is_after)
        written = await super().write(do, *args, **kwargs)
        self.live(is_due=self.writes == self.n)
        return written

    async def read(self, do: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.live(is_due=False)
        return await super().read(do, *args, **kwargs)

    def live(self, *, is_due: bool) -> None:
        """Raise Killed if it is dead, or dies now."""
        self.is_dead = self.is_dead or is_due
        if self.is_dead:
            raise Killed


def holder(pid: int) -> Holder:
    return Holder("machine", "boot", "pid:[1]", pid, pid)


def gone_but(alive: int) -> Callable[[Holder, Holder], bool]:
    """Return a judge to whom every process but one is gone."""
    return lambda other, me: other.machine == me.machine and other.pid != alive


def take(store: Store, name: str, operation: str = "", pid: int = 1) -> Lease:
    """Take the lease as process `pid`, every other being gone. Never let go: so is a killed process's."""
    return store.write_now(leases.acquire, name, operation, holder=holder(pid), now=store.clock.now(), is_gone=gone_but(pid))


async def run(
    store: Store,
    operation: str,
    world: World,
    pid: int = 1,
    *,
    name: str = "prod/shop",
    on_failure: OnFailure[World] = no_revert,
    heard: list[Event] | None = None,
    stop: Stop | None = None,
    chaos: Any = None,
    budget: int = 0,
    concurrent: int = 50,
    kinds: StepKinds[World] = KINDS,
    back: str = "",
) -> Result:
    """Execute as process `pid`."""
    lease = take(store, name, operation, pid)
    tell = (lambda _event: None) if heard is None else heard.append
    return await execute(
        store,
        operation,
        world,
        kinds,
        lease,
        on_failure=on_failure,
        tell=tell,
        stop=stop,
        chaos=chaos or KillAt(),
        budget=budget,
        concurrent=concurrent,
        back=back,
    )


def chain(count: int, width: int = 1, kind: type[SetCell] = SetCell) -> Sequence[Planned[World]]:
    """Return `count` steps, `width` a stage, each on a host of its own."""
    return [Planned(index // width, kind(host=f"prod/web-{index + 1}", after="new"), key=f"set-{index + 1}") for index in range(count)]
