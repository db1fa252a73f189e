"""A model of a fleet in unit time: hosts, slots, programs, balancers and their requests; what hits nothing is counted as lost.

Time passes only where somebody waits; 0.1 s a tick. The model knows nothing of rollouts and mends nothing: a wrong order of acts shows as losses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from manor.errors import FencedOff, ManorError, Unreachable
from manor.estate.layout import slot_program
from manor.estate.topology import TrafficState
from manor.integrations.proxies.base import ServerView
from manor.integrations.supervisors.base import ProgramStatus, ProgramView
from manor.operations.step import Here
from manor.rollout.fleet import Balancer, Checked, ProbeSummary, SlotLetter, SlotRef
from manor.rollout.losses import SoFar
from manor.rollout.progress import last_progress
from manor.rollout.spans import probe_span
from manor.state import journal, operations
from manor.state.store import Store
from tests.rollout.balancers import Loss, ModelBalancer, ModelMark
from tests.rollout.natures import Behaviour, Program
from tests.rollout.probes import ModelProbe

TICK = 0.1
CHECK_TICKS = 4
DURATIONS = (0.2, 0.2, 1.2)
STARTS_AT = 1_000_000.0
EXPIRY = 60.0
KEPT = 0.5
"""So long the tier before a program keeps an idle connection to it."""


class World:
    """All that really is."""

    def __init__(
        self,
        hosts: int,
        balancers: int,
        natures: Mapping[str, Behaviour],
        *,
        is_counted: bool = True,
        slots: str = "ab",
        has_program: bool = True,
        checks: bool = True,
    ) -> None:
        self.now = STARTS_AT
        self.natures = natures
        self.has_program = has_program
        self.hosts = [f"web-{n + 1}" for n in range(hosts)]
        self.servers = {f"{host}-{slot}": SlotRef("echo", host, "a" if slot == "a" else "b") for host in self.hosts for slot in slots}
        lag = 0.0 if is_counted or not checks else 0.3
        self.balancers = [ModelBalancer(Balancer(f"edge-{n + 1}", "0-balancer-model", is_counted), lag, checks) for n in range(balancers)]
        for balancer in self.balancers:
            balancer.traffic = dict.fromkeys(self.servers, TrafficState.MAINT)
        self._begin()

    def _begin(self) -> None:
        """Begin without any service and without any trouble."""
        self.programs: dict[str, Program] = {}
        self.placed: dict[str, str] = {}
        self.half_placed: dict[str, str] = {}
        """Server → the release that is on its way into its slot, beside what was there."""
        self.wanted: set[str] = set()
        """Servers whose programs are to run also after a restart of their hosts."""
        self.remembered = dict.fromkeys(self.servers, TrafficState.MAINT)
        self.active: dict[str, SlotLetter | None] = {}
        self.standing: dict[str, str] = {}
        self.judged_by: dict[str, str] = {}
        """Release → the operation that judged it last."""
        self.burned_why = ""
        self.is_maintained = False
        self.token = 0
        """The newest that hosts have seen."""
        self.marks: dict[str, ModelMark] = {}
        self.returned: set[tuple[str, str]] = set()
        """Operation and server of all that guards ever returned."""
        self.probe = ModelProbe()
        self.is_expected = False
        """Somebody relies on it: requests without an answer are losses."""
        self.losses: list[Loss] = []
        self.answered = self.ticks = self.requests = 0
        self.acts: list[str] = []
        self.touched_hosts: set[str] = set()
        self.phases: list[str] = []
        self._begin_without_traffic()
        self._begin_without_trouble()

    def _begin_without_traffic(self) -> None:
        self.kept_until: dict[str, float] = {}
        """Server → when the last idle connection to its program closes, if nothing more comes."""
        self.websockets: dict[str, int] = {}
        """Server → WebSockets that are open to its program; it closes them when it ends."""
        self.slow: dict[str, float] = {}
        """Server → seconds that each of its requests takes."""

    def _begin_without_trouble(self) -> None:
        self.lost_hosts: set[str] = set()
        """Hosts that can't be reached, and on which nothing answers."""
        self.refusing: set[str] = set()
        """Hosts on which nothing is carried out, though what runs there goes on."""
        self.disturbances: list[tuple[float, str]] = []
        """When a tier was started again, and which."""
        self.unsupervised: set[str] = set()
        """Hosts whose supervisor is dead; whoever asks it with patience revives it."""

    def serve(self, release: str, slot: SlotLetter = "a", *, certified: bool = True) -> None:
        """Have a release serve everywhere, as after an earlier rollout."""
        for host in self.hosts:
            server = f"{host}-{slot}"
            self.placed[server], self.active[host], self.remembered[server] = release, slot, TrafficState.READY
            self.wanted.add(server)
            if self.has_program:
                self.programs[server] = Program(release, self.natures[release], self.now - 1000.0)
            for balancer in self.balancers:
                balancer.traffic[server], balancer.healthy[server] = TrafficState.READY, True
        self.standing |= {release: "certified"} if certified else {}
        self.is_expected = True

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(max(1, round(seconds / TICK))):
            self.now = round(self.now + TICK, 3)
            self.ticks += 1
            self._live()
            self._guard()
            for balancer in self.balancers:
                self._balance(balancer)
            self.show()

    def _live(self) -> None:
        for server, program in self.programs.items():
            if program.traffic_since is None and any(balancer.traffic[server] is TrafficState.READY for balancer in self.balancers):
                program.traffic_since = self.now
            was_dead = program.is_dead
            program.live(self.now)
            if program.is_dead and not was_dead:
                self.cut(server, "ended by itself", is_fault=True)

    def _guard(self) -> None:
        """Return what nobody goes on with."""
        for server, mark in self.marks.items():
            is_due = self.now - mark.renewed >= EXPIRY and not mark.is_returned
            if is_due and self.is_up(server) and not any(self.is_up(other) for other in mark.instead):
                mark.is_returned, self.is_maintained = True, False
                self.returned.add((mark.operation, server))
                for balancer in self.balancers:
                    balancer.traffic |= {**self._failed(mark), server: TrafficState.READY}

    def _failed(self, mark: ModelMark) -> dict[str, TrafficState]:
        """Return what is taken out when a server returns: where nothing is checked, what failed in its place."""
        return {} if all(balancer.checks for balancer in self.balancers) else dict.fromkeys(mark.instead, TrafficState.DRAIN)

    def learn(self) -> None:
        """Have what guards returned serve everywhere, and remember it."""
        for server, mark in self.marks.items():
            if mark.is_returned:
                self.remembered |= self._failed(mark)
                for balancer in self.balancers:
                    balancer.traffic |= {**self._failed(mark), server: TrafficState.READY}
                self.remembered[server], mark.is_returned, mark.renewed = TrafficState.READY, False, self.now

    def _balance(self, balancer: ModelBalancer) -> None:
        for entry in [entry for entry in balancer.told if entry[0] <= self.now]:
            balancer.told.remove(entry)
            balancer.traffic[entry[1]] = entry[2]
        for server, ends in balancer.in_flight.items():
            done = [end for end in ends if end <= self.now]
            self.answered += len(done)
            if done:
                self.kept_until[server] = max(self.kept_until.get(server, 0.0), max(done) + KEPT)
            balancer.in_flight[server] = [end for end in ends if end > self.now]
        if self.ticks % CHECK_TICKS == 0:
            checked = {name: state is not TrafficState.MAINT and self.is_up(name) for name, state in balancer.traffic.items()}
            balancer.healthy = checked
        self._request(balancer)

    def is_up(self, server: str) -> bool:
        """Tell whether a server's health path answers as it should."""
        if self.servers[server].host in self.lost_hosts:
            return False
        if not self.has_program:
            return bool(self.placed.get(server))
        program = self.programs.get(server)
        return program is not None and program.is_healthy(self.now)

    def _request(self, balancer: ModelBalancer) -> None:
        if self.is_maintained:
            return
        server = balancer.choose()
        if server is None:
            if self.is_expected or self.probe.is_asking:
                ended = any(program.died_at is not None and program.traffic_since is not None for program in self.programs.values())
                self.losses.append(Loss(self.now, "", f"{balancer.name.host}: no server", is_fault=ended))
            return
        program = self.programs.get(server)
        if self.has_program and (program is None or not program.answers(self.now)):
            self.losses.append(Loss(self.now, server, "refused", is_fault=program is not None and program.died_at is not None))
            return
        balancer.in_flight.setdefault(server, []).append(self.now + self.slow.get(server, DURATIONS[self.requests % len(DURATIONS)]))
        self.requests += 1

    def cut(self, server: str, why: str, *, is_fault: bool = False) -> None:
        """Lose what a server has in flight."""
        for balancer in self.balancers:
            self.losses += [Loss(self.now, server, why, is_fault) for _ in balancer.in_flight.pop(server, [])]

    def end(self, server: str) -> None:
        """End a program: what it had is lost, and an idle connection might just have been used; WebSockets are closed in order."""
        self.cut(server, "stopped with requests in flight")
        if self.kept_until.get(server, 0.0) > self.now and not self.is_maintained:
            self.losses.append(Loss(self.now, server, "stopped while an idle connection was open"))
        self.websockets.pop(server, None)

    def show(self) -> None:
        """Let the probe see how it stands."""
        self.probe.see(self.now, self.answered, len(self.losses))

    @property
    def lost(self) -> list[Loss]:
        """What was lost and need not have been."""
        return [loss for loss in self.losses if not loss.is_fault]


@dataclass(frozen=True)
class ModelClock:
    """The world's time; whoever waits lets it pass."""

    world: World

    def now(self) -> float:
        return self.world.now

    async def sleep(self, seconds: float) -> None:
        self.world.advance(seconds)
        await asyncio.sleep(0)

    @asynccontextmanager
    async def timeout(self, seconds: float) -> AsyncIterator[object]:
        yield None


def nothing() -> None:
    """Go on."""


class ModelFleet:
    """The rollout's sight and hands in the model. `mutated` is called after each single change of the world, and may kill."""

    def __init__(self, world: World, store: Store, mutated: Callable[[], None] = nothing, *, is_patient: bool = True) -> None:
        self.world = world
        self.is_patient = is_patient
        """False: it only looks, and a supervisor that is dead stays so."""
        self.store = store
        self.mutated = mutated
        self.problems: tuple[str, ...] = ()
        self._lock = asyncio.Lock()

    @property
    def balancers(self) -> tuple[Balancer, ...]:
        return tuple(balancer.name for balancer in self.world.balancers)

    def alone(self) -> AbstractAsyncContextManager[object]:
        return self._lock

    def now(self) -> float:
        return self.world.now

    async def sleep(self, seconds: float) -> None:
        for mark in self.world.marks.values():
            mark.renewed = self.world.now
        await ModelClock(self.world).sleep(seconds)

    def _reach(self, host: str) -> None:
        if host in self.world.lost_hosts | self.world.refusing:
            raise Unreachable(f"{host}: no answer")

    def _act(self, act: str, host: str = "") -> None:
        self.world.acts.append(act)
        self.world.touched_hosts |= {host} if host else set()

    async def fence(self, slots: tuple[SlotRef, ...], here: Here) -> None:
        if here.token < self.world.token:
            raise FencedOff(f"token {here.token} is older than {self.world.token}; refused")
        self.world.token = here.token

    async def preflight(self, slots: tuple[SlotRef, ...], release: str) -> tuple[str, ...]:
        self.world.unsupervised.clear()
        return (*self.problems, *(await self.held("echo")).values())

    async def undeclared(self, slots: tuple[SlotRef, ...]) -> tuple[str, ...]:
        return ()

    async def placed(self, slot: SlotRef) -> str:
        self._reach(slot.host)
        return "" if slot.server in self.world.half_placed else self.world.placed.get(slot.server, "")

    async def oddity(self, slot: SlotRef, release: str) -> str:
        self._reach(slot.host)
        half = self.world.half_placed.get(slot.server)
        return f"{half} is half placed" if half else ""

    async def empty(self, slot: SlotRef, here: Here) -> None:
        self._reach(slot.host)
        if await self.lives(slot):
            raise ManorError(f"{slot.server} runs; its slot was not emptied")
        self._act(f"empty {slot.server}", slot.host)
        self.world.half_placed.pop(slot.server, None)
        self.world.placed.pop(slot.server, None)
        self.mutated()

    async def is_wanted(self, slot: SlotRef) -> bool:
        self._reach(slot.host)
        return slot.server in self.world.wanted

    async def place(self, slot: SlotRef, release: str, here: Here) -> None:
        program = self.world.programs.get(slot.server)
        assert program is None or program.is_dead, "placed under a running program"
        self.world.programs.pop(slot.server, None)
        self._act(f"place {slot.server} {release}", slot.host)
        self.world.half_placed[slot.server] = release
        self.mutated()
        self.world.placed[slot.server] = self.world.half_placed.pop(slot.server)
        self.mutated()

    async def lives(self, slot: SlotRef) -> bool:
        program = self.world.programs.get(slot.server)
        return program is not None and not program.is_dead

    async def program(self, slot: SlotRef) -> ProgramView | None:
        self._reach(slot.host)
        if slot.host in self.world.unsupervised and not self.is_patient:
            raise Unreachable(f"{slot.host}: supervisor.sock does not answer")
        self.world.unsupervised.discard(slot.host)
        if not self.world.has_program:
            return None
        program, name = self.world.programs.get(slot.server), slot_program(slot.service, slot.slot)
        if program is None:
            return ProgramView(name, ProgramStatus.STOPPED)
        if program.is_dead:
            return ProgramView(name, ProgramStatus.FAILED, detail="exited too quickly")
        return ProgramView(name, ProgramStatus.RUNNING, 1, program.started_at)

    async def start(self, slot: SlotRef, here: Here) -> None:
        self._reach(slot.host)
        self._act(f"start {slot.server}", slot.host)
        assert slot.server not in self.world.half_placed, "started what is half placed"
        self.world.wanted.add(slot.server)
        self.mutated()
        there = self.world.programs.get(slot.server)
        if self.world.has_program and (there is None or there.is_dead):
            release = self.world.placed[slot.server]
            self.world.programs[slot.server] = Program(release, self.world.natures[release], self.world.now)
        self.mutated()

    async def stop(self, slot: SlotRef, here: Here) -> None:
        self._reach(slot.host)
        self._act(f"stop {slot.server}", slot.host)
        self.world.wanted.discard(slot.server)
        self.mutated()
        if self.world.has_program:
            self.world.end(slot.server)
        self.world.programs.pop(slot.server, None)
        self.mutated()

    async def connections(self, slot: SlotRef) -> int | None:
        if not self.world.has_program:
            return None
        requests = sum(len(balancer.in_flight.get(slot.server, [])) for balancer in self.world.balancers)
        return requests + self.world.websockets.get(slot.server, 0) + int(self.world.kept_until.get(slot.server, 0.0) > self.world.now)

    async def check(self, slot: SlotRef) -> Checked:
        program = self.world.programs.get(slot.server)
        if self.world.is_up(slot.server):
            return Checked(passed=True, detail="")
        if program is None or not program.answers(self.world.now):
            return Checked(passed=False, detail="connection refused")
        return Checked(passed=False, detail=f"/healthz answers {program.behaviour.answers}, not 200")

    async def check_program(self, slot: SlotRef) -> Checked:
        return await self.check(slot)

    async def disturbed(self, since: float) -> tuple[str, ...]:
        return tuple(told for at, told in self.world.disturbances if at >= since)

    async def last_words(self, slot: SlotRef) -> str:
        return ""

    async def traffic(self, balancer: Balancer, service: str) -> tuple[ServerView, ...]:
        known = next(one for one in self.world.balancers if one.name == balancer)
        return tuple(self._view(known, name, state) for name, state in known.traffic.items())

    def _view(self, known: ModelBalancer, name: str, state: TrafficState) -> ServerView:
        is_counted, is_first = known.name.is_counted, known is self.world.balancers[0]
        opened = self.world.websockets.get(name, 0) if is_counted and is_first else 0
        in_flight = len(known.in_flight.get(name, [])) + opened if is_counted else None
        checked = None if state is TrafficState.MAINT else self.world.is_up(name)
        return ServerView(name, state, known.healthy.get(name) if known.checks else checked, in_flight, websockets=opened)

    async def set_traffic(self, service: str, changes: Mapping[str, TrafficState], here: Here) -> None:
        self.world.learn()
        for server, state in changes.items():
            self._act(f"{state} {server}", self.world.servers[server].host)
            self._remember(server, state, is_told=False)
        for balancer in self.world.balancers:
            for server, state in changes.items():
                balancer.told.append((self.world.now + balancer.lag, server, state))
                if not balancer.lag:
                    balancer.told.pop()
                    balancer.traffic[server] = state
                    balancer.healthy[server] = balancer.healthy.get(server, False) and state is not TrafficState.MAINT
            self.mutated()
        for server, state in changes.items():
            self._remember(server, state, is_told=True)

    def _remember(self, server: str, state: TrafficState, *, is_told: bool) -> None:
        """Remember what is let in after every balancer was told, what is taken out before."""
        if is_told is (state is TrafficState.READY):
            self.world.remembered[server] = state
            self.mutated()

    async def held(self, service: str) -> Mapping[str, str]:
        active = {f"{host}-{slot}" for host, slot in self.world.active.items() if slot}
        wanted = {server for server in active if self.world.remembered[server] is TrafficState.READY}
        out = [(one.name.host, server) for one in self.world.balancers for server in wanted if one.traffic[server] is not TrafficState.READY]
        return {server: f"{where} has {server} out of traffic; `set server echo/{server} state ready`" for where, server in sorted(out)}

    async def guard(self, slot: SlotRef, instead: tuple[SlotRef, ...], here: Here) -> str:
        self.world.learn()
        self.world.marks[slot.server] = ModelMark(here.operation, self.world.now, tuple(other.server for other in instead))
        self.mutated()
        return ""

    async def unguard(self, slot: SlotRef, here: Here) -> bool:
        self.world.learn()
        if self.world.marks.pop(slot.server, None):
            self.mutated()
        return (here.operation, slot.server) in self.world.returned

    async def set_maintenance(self, service: str, here: Here, *, on: bool) -> None:
        self._act(f"maintenance {on}")
        self.world.is_maintained = on
        self.mutated()

    async def page_differs(self, service: str, *, on: bool) -> str:
        return "" if self.world.is_maintained is on else self.balancers[0].host

    async def start_probe(self, service: str, here: Here) -> None:
        self.world.probe.start(self.world.now, (await self.store.read(operations.get, here.operation)).deadline or 0.0)
        self.world.show()
        self.mutated()

    async def probed(self, service: str, here: Here) -> SoFar:
        return self.world.probe.so_far()

    async def stop_probe(self, service: str, here: Here) -> ProbeSummary:
        steps, lines = await self.store.read(journal.steps, here.operation), await self.store.read(journal.history, here.operation)
        span = probe_span(steps, lines, self.world.now, await self.store.read(operations.pauses, here.operation))
        assert span is not None, "stopped, and never begun"
        self.world.show()
        seen = self.world.probe.stop(self.world.now, span, self.world.losses)
        self.mutated()
        return seen

    async def active(self, service: str, host: str) -> SlotLetter | None:
        return self.world.active.get(host)

    async def is_remembered(self, slot: SlotRef) -> bool:
        return self.world.active.get(slot.host) == slot.slot and self.world.remembered[slot.server] is TrafficState.READY

    async def set_active(self, service: str, host: str, slot: SlotLetter | None, here: Here) -> None:
        self.world.active[host] = slot
        self.mutated()

    async def progressed_at(self, here: Here) -> float:
        steps = await self.store.read(journal.steps, here.operation)
        pauses = await self.store.read(operations.pauses, here.operation)
        return last_progress(steps, (await self.store.read(operations.get, here.operation)).started_at or 0.0, pauses)

    async def set_phase(self, phase: str, here: Here) -> None:
        self.world.phases.append(phase)

    async def certify(self, service: str, release: str, here: Here) -> None:
        self.world.standing[release], self.world.judged_by[release] = "certified", here.operation
        self.world.phases.append("certified")
        self.mutated()

    async def standing(self, service: str, release: str, here: Here) -> str:
        return self.world.standing.get(release, "") if self.world.judged_by.get(release) == here.operation else ""

    async def burn(self, service: str, release: str, why: str, here: Here) -> None:
        if self.world.standing.get(release) != "certified":
            self.world.standing[release], self.world.burned_why, self.world.judged_by[release] = "burned", why, here.operation
        self.mutated()
