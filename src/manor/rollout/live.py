"""The fleet as it really is: rollouts' sight and hands over runners, tiers' sockets, supervisors and the store.

Invariant: every act on a host is fenced by the token of its step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import cast

from manor.errors import ApplyFailed, ManorError, Unreachable
from manor.estate.layout import instance_name, slot_program
from manor.estate.model import Service
from manor.estate.topology import ServiceView, SlotServer, TrafficState
from manor.execution.base import Runner
from manor.execution.values import Act, Completed, Connect, Effect, PutFile, Remove, Touch
from manor.integrations.proxies.base import ServerView
from manor.integrations.supervisors.base import ProgramStatus, ProgramView, living, program_of
from manor.observe.slots import active_slot, read_slots, traffic_of
from manor.operations.step import Here
from manor.reconcile.desired import DesiredHost
from manor.reconcile.site import Site, fence, with_parents
from manor.reconcile.supervising import end_program, start_supervisor
from manor.rollout.balancing import Balancing
from manor.rollout.checking import Checking
from manor.rollout.connections import SOCKETS, open_connections
from manor.rollout.declared import undeclared_tiers
from manor.rollout.disturbances import disturbances
from manor.rollout.fleet import Balancer, Checked, ProbeSummary, SlotLetter, SlotRef
from manor.rollout.losses import SoFar
from manor.rollout.placing import emptying_acts, oddity
from manor.rollout.probing import Prober
from manor.rollout.progress import last_progress
from manor.rollout.release import Release, Where, render_env, render_start, shared_places, slot_acts, slot_env, unpack_act
from manor.rollout.room import Need, Room, Size, hosts_without, look_for_room, no_room, parse_room, size_of
from manor.rollout.views import has_process
from manor.rollout.words import last_words
from manor.state import journal, operations, releases
from manor.state.leases import LIFETIME_SECONDS
from manor.state.words import Slot, Traffic

PATIENCE_SECONDS = 15.0
SETTLE_POLL_SECONDS = 0.1
REASON_LENGTH = 300


@dataclass
class LiveFleet:
    """A service's instances in one environment."""

    site: Site
    service: str
    catalog: Mapping[str, Release]
    """By short id: every release that the rollout may have to place."""
    artifacts: Path
    prober: Prober
    patience_seconds: float = PATIENCE_SECONDS
    guard_seconds: float = LIFETIME_SECONDS
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def declared(self) -> Service:
        """The service as the estate declares it."""
        return self.site.wiring.environment.services[self.service]

    @property
    def view(self) -> ServiceView:
        """The service as tiers see it."""
        return self.site.wiring.service(self.service)

    @cached_property
    def balancing(self) -> Balancing:
        """The switching tiers."""
        return Balancing(self.site, self.service, self.patience_seconds, self.guard_seconds)

    @property
    def balancers(self) -> tuple[Balancer, ...]:
        """Every switching tier that knows the service."""
        return self.balancing.all

    def alone(self) -> AbstractAsyncContextManager[object]:
        """Bound a look and the act that rests on it."""
        return self._alone

    def _server(self, slot: SlotRef) -> SlotServer:
        return next(server for server in self.view.servers if server.name == slot.server)

    def _host(self, slot: SlotRef) -> tuple[DesiredHost, Runner]:
        return self.site.hosts[slot.host], self.site.runners[slot.host]

    def now(self) -> float:
        """Return UTC seconds since 1970."""
        return self.site.store.clock.now()

    async def sleep(self, seconds: float) -> None:
        """Wait, with our marks kept alive."""
        await self.balancing.renew()
        await self.site.store.clock.sleep(seconds)

    async def fence(self, slots: tuple[SlotRef, ...], here: Here) -> None:
        """Have the hosts of slots and of every balancer refuse whoever came before."""
        for name in dict.fromkeys((*(slot.host for slot in slots), *self.balancing.hosts)):
            await self.site.fence(name, here.token)

    async def preflight(self, slots: tuple[SlotRef, ...], release: str) -> tuple[str, ...]:
        """Return what stands in the way."""
        problems = await self._without_artifact(slots, self.catalog[release])
        for name in dict.fromkeys((*(slot.host for slot in slots), *self.balancing.hosts)):
            await self._revive(name)
        dead = await self.balancing.dead()
        problems += dead or list((await self.balancing.held()).values())
        for slot in slots:
            problems += await self._in_the_way(slot)
        return (*problems, *(await self._without_room(slots, self.catalog[release]) if not problems else ()))

    async def undeclared(self, slots: tuple[SlotRef, ...]) -> tuple[str, ...]:
        """Return which tiers of the slots' hosts and of the balancers' do not work by the files that the estate declares now."""
        names = dict.fromkeys((*(slot.host for slot in slots), *self.balancing.hosts))
        found = await asyncio.gather(*(undeclared_tiers(self.site.hosts[name], self.site.runners[name]) for name in names))
        problems = [problem for each in found for problem in each]
        name = self.site.wiring.environment.name
        way = f"`manor plan -e {name}` shows it, `manor apply -e {name}` mends it; nothing is rolled out past what was planned"
        return (f"{'; '.join(problems)}; {way}",) if problems else ()

    async def _without_artifact(self, slots: tuple[SlotRef, ...], release: Release) -> list[str]:
        """Return why the release can't be placed: its artifact is gone, and a host needs it."""
        if self._archive(release).exists():
            return []
        lacking = await hosts_without(self.site, self.service, release.short, (slot.host for slot in slots))
        return [f"the artifact of {release.short} is not in the store, and not unpacked on {', '.join(lacking)}"] if lacking else []

    def _archive(self, release: Release) -> Path:
        return self.artifacts / f"{release.artifact}.tar"

    async def _without_room(self, slots: tuple[SlotRef, ...], release: Release) -> list[str]:
        """Return which hosts lack disk, files or memory for the release."""
        archive = self._archive(release)
        size = await asyncio.to_thread(size_of, archive) if archive.exists() else Size(0, 0)  # then every host has it unpacked
        return [problem for slot in slots for problem in await self._no_room(slot, release, size)]

    async def _no_room(self, slot: SlotRef, release: Release, size: Size) -> Sequence[str]:
        host, runner = self._host(slot)
        folder = host.layout.release(self.service, release.short)
        room = parse_room(await runner.run(look_for_room(self.service, folder.parent, folder)))
        return no_room(slot.host, folder.parent, room, await self._need(host, runner, release, size, room))

    async def _need(self, host: DesiredHost, runner: Runner, release: Release, size: Size, room: Room) -> Need:
        """Return what a rollout needs: memory by the declared limit, else what the running slot uses; with one slot that is free before."""
        run = self._configured(release).run
        if run is None or not self.view.has_program:
            return Need(size)
        names = {slot_program(self.service, letter) for letter in ("a", "b")}
        views = host.supervisor.parse_status(await self._supervise(host, runner, host.supervisor.status(host.supervised)))
        used = max((room.resident.get(view.pid or 0, 0) for view in views if view.name in names), default=0)
        freed = 0 if self.declared.rollout.strategy == "rolling" else used
        limit = run.limits.memory
        return Need(size, max(0, limit - freed), "run.limits.memory") if limit else Need(size, used - freed, "as much as the running slot uses")

    async def _revive(self, name: str) -> None:
        """Have a host's supervisor run: without it, a program that dies in the rollout would not come back."""
        host, runner = self.site.hosts[name], self.site.runners[name]
        if not host.is_supervised:
            return
        await self._supervise(host, runner, host.supervisor.status(host.supervised))

    async def _in_the_way(self, slot: SlotRef) -> list[str]:
        server = self._server(slot)
        view = await self.program(slot)
        if server.service_port is None or has_process(view):
            return []
        try:
            await self.site.runners[slot.host].connect(Connect(server.address, server.service_port, timeout_seconds=1.0))
        except Unreachable:
            return []
        return [f"{slot.host}: port {server.service_port} of slot {slot.slot} is in use by a program that is not Manor's; end it or change run.port"]

    def _where(self, slot: SlotRef) -> Where:
        place = self.site.wiring.addressing.hosts[slot.host]
        return Where(self.site.wiring.environment.name, slot.host, place.address, slot.slot, place.layout)

    async def placed(self, slot: SlotRef) -> str:
        """Return the release that the slot holds."""
        host, runner = self._host(slot)
        layout = host.layout
        link, env, start = layout.slot(self.service, slot.slot), layout.slot_env(self.service, slot.slot), layout.slot_start(self.service, slot.slot)
        there = await runner.digest([link])
        target = there.get(link, "").removeprefix("-> ")
        release = self.catalog.get(target.rsplit("/", 1)[-1])
        if release is None or target != str(layout.release(self.service, release.short)):
            return ""
        where, texts = self._where(slot), await runner.read([env, start])
        declared = self._configured(release)
        if await self._remembered(slot) != release.id:
            return ""
        whole = texts.get(env) == render_env(slot_env(release, declared, where)) and texts.get(start) == render_start(declared, where)
        return release.short if whole and await runner.digest([layout.release(self.service, release.short)]) else ""

    async def _remembered(self, slot: SlotRef) -> str:
        """Return the full id of the release that the store knows in the slot."""
        rows = await read_slots(self.site.store, self.site.wiring.environment.name, self.service)
        return next((row.release for row in rows if (row.instance, str(row.slot)) == (slot.instance, slot.slot)), "")

    def _configured(self, release: Release) -> Service:
        return release.configured(self.declared)

    async def place(self, slot: SlotRef, release: str, here: Here) -> None:
        """Put the release into the slot."""
        host, runner = self._host(slot)
        await fence(host, runner, self.site.state_id, self.site.lease, here.token)
        view = await self.program(slot)
        if view is not None and view.status is ProgramStatus.FAILED:
            await self.stop(slot, here)  # it has no process, but the supervisor would start it again from under us
        chosen = self.catalog[release]
        archive = str(self._archive(chosen))
        declared, where = self._configured(chosen), self._where(slot)
        await runner.change(with_parents([unpack_act(chosen, where, archive)]))
        there = await runner.digest(shared_places(chosen, declared, where))
        in_the_way = [path for path, what in there.items() if not what.startswith("-> ")]
        note = Remove(host.layout.program_log_from(slot_program(self.service, slot.slot)), touch=Touch(subject=f"service/{self.service}"))
        await runner.change(with_parents([*slot_acts(chosen, declared, where, in_the_way), note]))
        await self._remember(slot, release, here)

    async def oddity(self, slot: SlotRef, release: str) -> str:
        """Return what the slot holds that is neither the release nor what is remembered."""
        if await self.placed(slot) == release:
            return ""
        chosen, (_, runner) = self.catalog[release], self._host(slot)
        return await oddity(runner, self._where(slot), chosen, self._configured(chosen), await self._remembered(slot))

    async def empty(self, slot: SlotRef, here: Here) -> None:
        """Have the slot hold no release."""
        host, runner = self._host(slot)
        await fence(host, runner, self.site.state_id, self.site.lease, here.token)
        view = await self.program(slot)
        if view is not None and has_process(view):
            raise ManorError(f"{slot.host}: {view.name} is {view.status}, not stopped; its slot was not emptied")
        if view is not None and view.status is ProgramStatus.FAILED:
            await self.stop(slot, here)  # as for placing: the supervisor would start it again
        await runner.change(emptying_acts(self._where(slot), self.service))

    async def is_wanted(self, slot: SlotRef) -> bool:
        """Tell whether the slot's program is to run also after a restart of its host."""
        host, runner = self._host(slot)
        wanted = host.layout.slot_wanted(self.service, slot.slot)
        return wanted in await runner.digest([wanted])

    async def _remember(self, slot: SlotRef, release: str, here: Here, traffic: Traffic = Traffic.NONE) -> None:
        store, name = self.site.store, self.site.wiring.environment.name
        full = self.catalog[release].id
        await store.write(releases.put_slot, name, self.service, slot.instance, Slot(slot.slot), full, traffic, here.operation, here.token, at=self.now())

    async def program(self, slot: SlotRef) -> ProgramView | None:
        """Return how the slot's program stands."""
        if not self.view.has_program:
            return None
        host, runner = self._host(slot)
        completed = await self._supervise(host, runner, host.supervisor.status(host.supervised))
        wanted = slot_program(self.service, slot.slot)
        for view in host.supervisor.parse_status(completed):
            if view.name == wanted:
                return view
        raise ManorError(f"{slot.host}: the supervisor does not know {wanted}; run `manor apply`")

    async def lives(self, slot: SlotRef) -> bool:
        """Tell whether any process of the slot's program lives: as its supervisor says, or by the mark in their environment while that is dead."""
        host, runner = self._host(slot)
        try:
            return has_process(await self.program(slot))
        except Unreachable:
            completed = await runner.run(living(program_of(host.supervised, slot_program(self.service, slot.slot)), host.layout))
            return bool(completed.out.strip())

    async def _supervise(self, host: DesiredHost, runner: Runner, act: Act) -> Completed:
        """Have a supervisor do or tell something; one that died is started again, and finds the programs that live on."""
        try:
            return await runner.carry_out(act)
        except Unreachable:
            if not self.patience_seconds:
                raise
        await start_supervisor(host, runner)
        await self._settle(host, runner)
        return await runner.carry_out(act)

    async def _settle(self, host: DesiredHost, runner: Runner) -> None:
        """Wait until a supervisor that was just started has seen the wrappers of idle slots end; what it takes for running then really runs."""
        limit = self.now() + self.patience_seconds
        wanted = {program.name: program.wanted for program in host.supervised.programs}
        there = await runner.digest([path for path in wanted.values() if path])
        while self.now() < limit:
            views = host.supervisor.parse_status(await runner.carry_out(host.supervisor.status(host.supervised)))
            idle = {name for name, path in wanted.items() if path and path not in there}
            if not any(view.status is ProgramStatus.STARTING or (view.name in idle and has_process(view)) for view in views):
                return
            await self.sleep(SETTLE_POLL_SECONDS)

    async def _tell(self, host: DesiredHost, runner: Runner, act: Act) -> None:
        problem = host.supervisor.parse_done(act, await self._supervise(host, runner, act))
        if problem is not None:
            raise ApplyFailed(f"{host.name}: {host.supervisor.name}: {problem}")

    async def start(self, slot: SlotRef, here: Here) -> None:
        """Have the slot's program run."""
        host, runner = self._host(slot)
        await fence(host, runner, self.site.state_id, self.site.lease, here.token)
        touch = Touch(subject=f"service/{self.service}", effect=Effect.INCLUDE)
        program = slot_program(self.service, slot.slot)
        anew = [] if has_process(await self.program(slot)) else [Remove(host.layout.program_log_from(program), touch=touch)]
        await runner.change([*anew, PutFile(host.layout.slot_wanted(self.service, slot.slot), b"", touch=touch)])
        if self.view.has_program:
            await self._tell(host, runner, host.supervisor.start_program(host.supervised, slot_program(self.service, slot.slot)))

    async def stop(self, slot: SlotRef, here: Here) -> None:
        """End the slot's program, and what of it lives on though its supervisor takes it for stopped. Raises CommandFailed if something cannot be ended."""
        host, runner = self._host(slot)
        await fence(host, runner, self.site.state_id, self.site.lease, here.token)
        touch = Touch(subject=f"service/{self.service}", effect=Effect.INCLUDE)
        await runner.change([Remove(host.layout.slot_wanted(self.service, slot.slot), touch=touch)])
        if self.view.has_program:
            await self._supervise(host, runner, host.supervisor.status(host.supervised))  # it is there, or started again
            await end_program(host, runner, slot_program(self.service, slot.slot), self.view.stop_seconds, self.site.store.clock)

    async def connections(self, slot: SlotRef) -> int | None:
        """Return how many connections are open to the slot's program."""
        server = self._server(slot)
        if server.service_port is None:
            return None
        return open_connections(await self.site.runners[slot.host].read(SOCKETS), server.address, server.service_port)

    async def check(self, slot: SlotRef) -> Checked:
        """Check the slot's health once."""
        return await Checking(self.declared, self.view, self._server(slot), self._where(slot), self.site.runners[slot.host]).check()

    async def check_program(self, slot: SlotRef) -> Checked:
        """Check the health of the slot's program once, past the web tier."""
        server = self._server(slot)
        direct = replace(server, port=server.service_port or server.port)
        return await Checking(self.declared, self.view, direct, self._where(slot), self.site.runners[slot.host]).check()

    async def disturbed(self, since: float) -> tuple[str, ...]:
        """Return which tiers do not run, or were started after a moment."""
        return await disturbances(self.site, self.now() - since)

    async def last_words(self, slot: SlotRef) -> str:
        """Return the last lines that the slot's program wrote since it was started."""
        host, runner = self._host(slot)
        program = slot_program(self.service, slot.slot)
        log, note = host.layout.program_log(program), host.layout.program_log_from(program)
        texts = await runner.read([log, note])
        return last_words(texts.get(log, b""), texts.get(note, b""))

    async def traffic(self, balancer: Balancer, service: str) -> tuple[ServerView, ...]:
        """Return how a balancer treats the service's servers; where it checks none itself, those in traffic are checked on their hosts."""
        views = await self.balancing.traffic(balancer)
        return views if self.balancing.checks else tuple(await asyncio.gather(*map(self._checked, views)))

    async def _checked(self, view: ServerView) -> ServerView:
        if view.traffic is TrafficState.MAINT:
            return view
        server = next(known for known in self.view.servers if known.name == view.name)
        checked = await self.check(SlotRef(self.service, server.host, server.slot))
        return replace(view, is_healthy=checked.passed, detail=view.detail or checked.detail)

    async def set_traffic(self, service: str, changes: Mapping[str, TrafficState], here: Here) -> None:
        """Bring servers to a state on every balancer."""
        await self.balancing.set(changes, here)

    async def held(self, service: str) -> Mapping[str, str]:
        """Return the servers that a person took out of traffic: where, and the command that ends it."""
        return await self.balancing.held()

    async def guard(self, slot: SlotRef, instead: tuple[SlotRef, ...], here: Here) -> str:
        """Have every balancer's host watch over a slot that is about to be taken out."""
        return await self.balancing.guard(slot.server, tuple(other.server for other in instead), here)

    async def unguard(self, slot: SlotRef, here: Here) -> bool:
        """End that."""
        return await self.balancing.unguard(slot.server, here)

    async def set_maintenance(self, service: str, here: Here, *, on: bool) -> None:
        """Show the maintenance page, or end it."""
        await self.balancing.set_maintenance(here, on=on)

    async def page_differs(self, service: str, *, on: bool) -> str:
        """Return on which hosts the maintenance page is not as it is to be."""
        return await self.balancing.page_differs(on=on)

    async def start_probe(self, service: str, here: Here) -> None:
        """Have the outside probe run."""
        await self.prober.start(here.operation)

    async def probed(self, service: str, here: Here) -> SoFar:
        """Return what the outside probe has seen so far."""
        return await self.prober.so_far(here.operation)

    async def stop_probe(self, service: str, here: Here) -> ProbeSummary:
        """End the outside probe and return what it saw."""
        return await self.prober.stop(here.operation)

    async def active(self, service: str, host: str) -> SlotLetter | None:
        """Return the slot that is remembered to serve on a host."""
        rows = await self.site.store.read(releases.deployments, self.site.wiring.environment.name, service)
        return cast("SlotLetter | None", active_slot(service, host, rows))

    async def is_remembered(self, slot: SlotRef) -> bool:
        """Tell whether the slot is remembered to serve, and to have traffic."""
        rows = await read_slots(self.site.store, self.site.wiring.environment.name, self.service)
        is_active = await self.active(self.service, slot.host) == slot.slot
        return is_active and traffic_of(self.view, rows)[slot.server] is TrafficState.READY

    async def set_active(self, service: str, host: str, slot: SlotLetter | None, here: Here) -> None:
        """Remember which slot serves on a host."""
        name, instance = self.site.wiring.environment.name, instance_name(service, host)
        active = Slot(slot) if slot else None
        await self.site.store.write(releases.put_deployment, name, service, instance, host, active, here.operation, here.token, at=self.now())

    async def progressed_at(self, here: Here) -> float:
        """Return when an instance became healthy or an old one was emptied, else when the operation began: all from the journal."""
        steps = await self.site.store.read(journal.steps, here.operation)
        began = (await self.site.store.read(operations.get, here.operation)).started_at
        return last_progress(steps, began or self.now(), await self.site.store.read(operations.pauses, here.operation))

    async def set_phase(self, phase: str, here: Here) -> None:
        """Remember where the rollout is."""
        await self.site.store.write(operations.set_phase, here.operation, here.token, phase)

    async def certify(self, service: str, release: str, here: Here) -> None:
        """Remember that the release held."""
        name, full = self.site.wiring.environment.name, self.catalog[release].id
        await self.site.store.write(releases.certify_rollout, name, self.service, full, here.operation, here.token, at=self.now())

    async def burn(self, service: str, release: str, why: str, here: Here) -> None:
        """Remember that the release failed here; a certified one keeps its standing."""
        name, full = self.site.wiring.environment.name, self.catalog[release].id
        await self.site.store.write(releases.burn_rollout, name, self.service, full, here.operation, here.token, why[:REASON_LENGTH], at=self.now())

    async def standing(self, service: str, release: str, here: Here) -> str:
        """Return what this operation has remembered of the release."""
        known = await self.site.store.read(releases.standing_of, self.site.wiring.environment.name, service, self.catalog[release].id)
        return str(known.standing) if known is not None and known.operation == here.operation else ""
