"""The fleet as it really is: rollouts' sight and hands over runners, tiers' sockets, supervisors and the store.

Invariant: what the store says of traffic and what the switching tiers do change together: file, store, socket, in this order, under one lock a service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from manor.errors import CommandFailed, ManorError, Unreachable
from manor.estate.layout import instance_name, slot_program
from manor.estate.model import Health, Service
from manor.estate.topology import ServiceView, SlotServer, TierNode, TrafficState
from manor.execution.base import Runner
from manor.execution.values import Act, Command, Completed, Connect, Effect, HttpRequest, PutFile, Remove, Touch
from manor.integrations.proxies.base import Proxy, ServerView
from manor.integrations.supervisors.base import ProgramStatus, ProgramView
from manor.observe.slots import IN_STORE, active_slot, read_slots, traffic_of
from manor.operations.step import Here
from manor.reconcile.desired import DesiredHost
from manor.reconcile.steps import SLACK_SECONDS, Site, fence, tell_supervisor, with_parents
from manor.rollout.fleet import Balancer, Checked, ProbeSummary, SlotLetter, SlotRef
from manor.rollout.moving import DrainSlot
from manor.rollout.probing import Prober
from manor.rollout.release import Release, Where, command_words, port_of, parse_env, release_acts, render_env, render_start, slot_env
from manor.rollout.slots import WarmSlot
from manor.rollout.views import has_process
from manor.state import journal, operations, releases
from manor.state.words import Outcome, Slot, Standing, Traffic

LAST_WORDS_BYTES = 600
PATIENCE_SECONDS = 15.0
"""So long a balancer may be silent, as one that was killed is until its supervisor has started it again."""
PATIENCE_POLL_SECONDS = 0.2
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
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def declared(self) -> Service:
        """The service as the estate declares it."""
        return self.site.wiring.environment.services[self.service]

    @property
    def view(self) -> ServiceView:
        """The service as tiers see it."""
        return self.site.wiring.service(self.service)

    @property
    def balancers(self) -> tuple[Balancer, ...]:
        """Every switching tier."""
        traits = self.site.wiring.traits
        return tuple(Balancer(node.host, node.key, traits[node.product].switch.value == "counted") for node in self._switching())

    def alone(self) -> AbstractAsyncContextManager[object]:
        """Bound a look and the act that rests on it."""
        return self._alone

    def _switching(self) -> list[TierNode]:
        nodes = [tier.node for host in self.site.hosts.values() for tier in host.tiers if tier.node.is_switching]
        return [node for node in nodes if self._view_at(node) is not None]

    async def _ask(self, node: TierNode, act: Act) -> Completed:
        """Have a balancer do or tell something; one that is being started again is waited for. Raises Unreachable, CommandFailed."""
        limit = self.now() + PATIENCE_SECONDS
        while True:
            try:
                return await self.site.runners[node.host].carry_out(act)
            except Unreachable:
                if self.now() >= limit:
                    raise
            await self.sleep(PATIENCE_POLL_SECONDS)

    def _node(self, balancer: Balancer) -> tuple[TierNode, Proxy]:
        tier = self.site.tier(balancer.host, balancer.key)
        return tier.node, tier.proxy

    def _view_at(self, node: TierNode) -> ServiceView | None:
        return next((view for view in node.services if view.name == self.service), None)

    def _server(self, slot: SlotRef) -> SlotServer:
        return next(server for server in self.view.servers if server.name == slot.server)

    def _host(self, slot: SlotRef) -> tuple[DesiredHost, Runner]:
        return self.site.hosts[slot.host], self.site.runners[slot.host]

    def now(self) -> float:
        """Return UTC seconds since 1970."""
        return self.site.store.clock.now()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self.site.store.clock.sleep(seconds)

    async def preflight(self, slots: tuple[SlotRef, ...], release: str) -> tuple[str, ...]:
        """Return what stands in the way."""
        problems = [] if (self.artifacts / f"{self.catalog[release].artifact}.tar").exists() else [f"the artifact of {release} is not in the store"]
        for balancer in self.balancers:
            node, proxy = self._node(balancer)
            problems += await self._dead(node, proxy)
        for slot in slots:
            problems += await self._in_the_way(slot)
        return tuple(problems)

    async def _dead(self, node: TierNode, proxy: Proxy) -> list[str]:
        try:
            found = proxy.parse_ready(await self.site.runners[node.host].carry_out(proxy.ready(node)))
        except (Unreachable, CommandFailed) as error:
            found = str(error)
        return [] if found is None else [f"{node.host}: {node.key} does not answer: {found}"]

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
        archive = str(self.artifacts / f"{chosen.artifact}.tar")
        await runner.change(with_parents(release_acts(chosen, self._configured(chosen), self._where(slot), archive)))
        await self._remember(slot, release, here)

    async def _remember(self, slot: SlotRef, release: str, here: Here, traffic: Traffic = Traffic.NONE) -> None:
        store, name = self.site.store, self.site.wiring.environment.name
        full = self.catalog[release].id
        await store.write(releases.put_slot, name, self.service, slot.instance, Slot(slot.slot), full, traffic, here.operation, here.token, at=self.now())

    async def program(self, slot: SlotRef) -> ProgramView | None:
        """Return how the slot's program stands."""
        if not self.view.has_program:
            return None
        host, runner = self._host(slot)
        completed = await runner.carry_out(host.supervisor.status(host.supervised))
        wanted = slot_program(self.service, slot.slot)
        for view in host.supervisor.parse_status(completed):
            if view.name == wanted:
                return view
        raise ManorError(f"{slot.host}: the supervisor does not know {wanted}; run `manor apply`")

    async def start(self, slot: SlotRef, here: Here) -> None:
        """Have the slot's program run."""
        host, runner = self._host(slot)
        await fence(host, runner, self.site.state_id, self.site.lease, here.token)
        touch = Touch(subject=f"service/{self.service}", effect=Effect.INCLUDE)
        await runner.change([PutFile(host.layout.slot_wanted(self.service, slot.slot), b"", touch=touch)])
        if self.view.has_program:
            await tell_supervisor(host, runner, host.supervisor.start_program(host.supervised, slot_program(self.service, slot.slot)))

    async def stop(self, slot: SlotRef, here: Here) -> None:
        """End the slot's program."""
        host, runner = self._host(slot)
        await fence(host, runner, self.site.state_id, self.site.lease, here.token)
        touch = Touch(subject=f"service/{self.service}", effect=Effect.INCLUDE)
        await runner.change([Remove(host.layout.slot_wanted(self.service, slot.slot), touch=touch)])
        if self.view.has_program:
            run = self.declared.run
            seconds = run.stop.timeout if run else 30.0
            await tell_supervisor(host, runner, host.supervisor.stop_program(host.supervised, slot_program(self.service, slot.slot), seconds + SLACK_SECONDS))

    async def check(self, slot: SlotRef) -> Checked:
        """Check the slot's health once."""
        health, runner = self.declared.health, self.site.runners[slot.host]
        try:
            if health.http is not None:
                return await self._check_http(slot, health, runner)
            if health.command is not None:
                return await self._check_command(slot, health, runner)
            server = self._server(slot)
            await runner.connect(Connect(server.address, server.service_port or server.port, timeout_seconds=health.timeout))
        except (Unreachable, CommandFailed) as error:
            return Checked(passed=False, detail=str(error))
        return Checked(passed=True, detail="")

    async def _check_http(self, slot: SlotRef, health: Health, runner: Runner) -> Checked:
        server = self._server(slot)
        headers = {"Host": self.view.health_host, "X-Manor-Service": self.service, "Connection": "close"}
        url = f"http://{server.address}:{server.port}{health.http}"
        answer = await runner.request(HttpRequest("GET", url, headers, timeout_seconds=health.timeout))
        if answer.code == health.status:
            return Checked(passed=True, detail="")
        return Checked(passed=False, detail=f"{health.http} answers {answer.code}, not {health.status}")

    async def _check_command(self, slot: SlotRef, health: Health, runner: Runner) -> Checked:
        place = self._where(slot)
        words = command_words(health.command or "", place.address, port_of(self.declared, slot.slot))
        path = place.layout.slot_env(self.service, slot.slot)
        env = parse_env((await runner.read([path])).get(path, b""))
        touch = Touch(subject=f"service/{self.service}")
        folder = place.layout.slot(self.service, slot.slot)
        await runner.run(Command(tuple(words), touch, env, folder, timeout_seconds=health.timeout))
        return Checked(passed=True, detail="")

    async def last_words(self, slot: SlotRef) -> str:
        """Return the last lines that the slot's program wrote."""
        host, runner = self._host(slot)
        path = host.layout.program_log(slot_program(self.service, slot.slot))
        text = (await runner.read([path])).get(path, b"")[-LAST_WORDS_BYTES:].decode("utf-8", "replace")
        return " | ".join(line.strip() for line in text.splitlines()[-3:] if line.strip())

    async def traffic(self, balancer: Balancer, service: str) -> tuple[ServerView, ...]:
        """Return how a balancer treats the service's servers."""
        node, proxy = self._node(balancer)
        view = self._view_at(node)
        if view is None:
            return ()
        completed = await self._ask(node, proxy.observe_switch(node, view))
        found = proxy.parse_switch(node, view, completed)
        checks = bool(proxy.traits.switch_checks)
        return found if checks else tuple(replace(server, is_healthy=True) for server in found)

    async def set_traffic(self, service: str, changes: Mapping[str, TrafficState], here: Here) -> None:
        """Bring servers to a state on every balancer."""
        async with self._lock:
            await self._fence_balancers(here)
            rows = await read_slots(self.site.store, self.site.wiring.environment.name, service)
            wanted = {**traffic_of(self.view, rows), **changes}
            for balancer in self.balancers:
                await self._switch_files(balancer, wanted)
            for name, state in changes.items():
                await self._remember_traffic(name, state, rows, here)
            await all_done(self._switch(balancer, wanted) for balancer in self.balancers)

    async def _fence_balancers(self, here: Here) -> None:
        """Have every balancer's host refuse an executor that was succeeded. Raises FencedOff."""
        for name in dict.fromkeys(balancer.host for balancer in self.balancers):
            await fence(self.site.hosts[name], self.site.runners[name], self.site.state_id, self.site.lease, here.token)

    async def _switch_files(self, balancer: Balancer, wanted: Mapping[str, TrafficState]) -> None:
        node, proxy = self._node(balancer)
        view = self._view_at(node)
        if view is not None:
            await self.site.runners[node.host].change(with_parents(proxy.switch_files(node, view, of(view, wanted))))

    async def _switch(self, balancer: Balancer, wanted: Mapping[str, TrafficState]) -> None:
        node, proxy = self._node(balancer)
        view = self._view_at(node)
        for act in proxy.switch(node, view, of(view, wanted)) if view is not None else ():
            await self._ask(node, act)

    async def _remember_traffic(self, server: str, state: TrafficState, rows: tuple[releases.SlotRow, ...], here: Here) -> None:
        known = next(entry for entry in self.view.servers if entry.name == server)
        release = next((row.release for row in rows if row.instance == known.instance and str(row.slot) == known.slot), "")
        await self.site.store.write(
            releases.put_slot,
            self.site.wiring.environment.name,
            self.service,
            known.instance,
            Slot(known.slot),
            release,
            IN_STORE[state],
            here.operation,
            here.token,
            at=self.now(),
        )

    async def set_maintenance(self, service: str, here: Here, *, on: bool) -> None:
        """Show the maintenance page, or end it."""
        await self._fence_balancers(here)
        for balancer in self.balancers:
            node, proxy = self._node(balancer)
            view = self._view_at(node)
            for act in (*proxy.maintenance_files(node, view, on), *proxy.maintenance(node, view, on)) if view is not None else ():
                await self._ask(node, act)

    async def start_probe(self, service: str, here: Here) -> None:
        """Have the outside probe run."""
        await self.prober.start(here.operation)

    async def stop_probe(self, service: str, here: Here) -> ProbeSummary:
        """End the outside probe and return what it saw."""
        return await self.prober.stop(here.operation)

    async def active(self, service: str, host: str) -> SlotLetter | None:
        """Return the slot that is remembered to serve on a host."""
        rows = await self.site.store.read(releases.deployments, self.site.wiring.environment.name, service)
        return cast("SlotLetter | None", active_slot(service, host, rows))

    async def set_active(self, service: str, host: str, slot: SlotLetter | None, here: Here) -> None:
        """Remember which slot serves on a host."""
        name, instance = self.site.wiring.environment.name, instance_name(service, host)
        active = Slot(slot) if slot else None
        await self.site.store.write(releases.put_deployment, name, service, instance, host, active, here.operation, here.token, at=self.now())

    async def progressed_at(self, here: Here) -> float:
        """Return when an instance became healthy or an old one was emptied, else when the operation began: all from the journal."""
        steps = await self.site.store.read(journal.steps, here.operation)
        kinds = {WarmSlot.kind, DrainSlot.kind}
        done = [step.done_at for step in steps if step.kind in kinds and step.outcome is Outcome.OK and step.done_at is not None]
        began = (await self.site.store.read(operations.get, here.operation)).started_at
        return max(done, default=began or self.now())

    async def set_phase(self, phase: str, here: Here) -> None:
        """Remember where the rollout is."""
        await self.site.store.write(operations.set_phase, here.operation, here.token, phase)

    async def certify(self, service: str, release: str, here: Here) -> None:
        """Remember that the release held."""
        await self._judge(release, Standing.CERTIFIED, "", here)

    async def burn(self, service: str, release: str, why: str, here: Here) -> None:
        """Remember that the release failed here; a certified one keeps its standing."""
        await self._judge(release, Standing.BURNED, why[:REASON_LENGTH], here)

    async def _judge(self, release: str, standing: Standing, why: str, here: Here) -> None:
        """Add a line about a release, unless it says what the last one says, or burns what is certified."""
        name, full = self.site.wiring.environment.name, self.catalog[release].id
        known = await self.site.store.read(releases.standing_of, name, self.service, full)
        if known is not None and known.operation == here.operation and known.standing is standing:
            return
        if standing is Standing.BURNED and known is not None and known.standing is Standing.CERTIFIED:
            return
        await self.site.store.write(releases.certify, name, self.service, full, standing, here.operation, why, at=self.now())


async def all_done(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all to their end, then raise the first error."""
    for ended in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended


def of(view: ServiceView, wanted: Mapping[str, TrafficState]) -> Mapping[str, TrafficState]:
    """Return the part of a traffic state that concerns a tier's own servers."""
    return {server.name: wanted[server.name] for server in view.servers}
