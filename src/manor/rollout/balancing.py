"""A service's traffic on every switching tier that knows it: read, set, remembered.

Invariant: file, store, socket, in this order, for what is taken out; file, socket, store for what is let in, under one lock a service. So the store
says `ready` only of what every switching tier was told to use, and what is out all the same was taken out by a person.
Invariant: a switching tier is told of servers that change, and of no others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias, TypeVar

from manor.errors import CommandFailed, FencedOff, ManorError, NotOurs, Unreachable
from manor.estate.topology import ServiceView, TierNode, TrafficState
from manor.execution.values import Act, Completed, FileAct, MakeFolder, PutFile
from manor.integrations.proxies.base import Proxy, ServerView
from manor.observe.slots import IN_STORE, held_out, read_slots, traffic_of
from manor.operations.step import Here
from manor.reconcile.handbook import by_hand
from manor.reconcile.parts import pasted_problems
from manor.reconcile.returns import Mark
from manor.reconcile.site import Site, with_parents
from manor.rollout.fleet import Balancer
from manor.rollout.guarding import RENEWALS, Guarding
from manor.state import releases
from manor.state.leases import LIFETIME_SECONDS
from manor.state.words import Slot

POLL_SECONDS = 0.2
T = TypeVar("T")
At: TypeAlias = tuple[str, str]
"""Host and key of a tier."""


@dataclass
class Balancing:
    """The switching tiers before one service."""

    site: Site
    service: str
    patience_seconds: float
    """So long a balancer may be silent, as one that was killed is until its supervisor has started it again."""
    guard_seconds: float = LIFETIME_SECONDS
    """After so long without a renewal a guard returns what was taken out."""
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _marked: tuple[Here, float] | None = None
    """For which step we renew marks, and when we last did."""

    @property
    def view(self) -> ServiceView:
        """The service as tiers see it."""
        return self.site.wiring.service(self.service)

    @property
    def all(self) -> tuple[Balancer, ...]:
        """Every switching tier that knows the service; where `web` itself switches, each for its own host, all together are one."""
        nodes, traits = self._switching(), self.site.wiring.traits
        found = tuple(Balancer(node.host, node.key, traits[node.product].switch.value == "counted") for node in nodes)
        return (replace(found[0], host=", ".join(balancer.host for balancer in found)),) if nodes and nodes[0].is_web else found

    @property
    def checks(self) -> bool:
        """Tell whether the switching tiers check servers themselves."""
        return all(self._proxy(node).traits.switch_checks for node in self._switching())

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts of all of them."""
        return tuple(dict.fromkeys(node.host for node in self._switching()))

    def _switching(self) -> list[TierNode]:
        nodes = [tier.node for host in self.site.hosts.values() for tier in host.tiers if tier.node.is_switching]
        return [node for node in nodes if self._view_at(node) is not None]

    async def _ask(self, node: TierNode, act: Act, read: Callable[[Completed], T]) -> T:
        """Have a balancer do or tell something, and read its answer; one that is being started again is waited for. Raises Unreachable, CommandFailed."""
        limit = self.site.store.clock.now() + self.patience_seconds
        while True:
            try:
                return read(await self.site.runners[node.host].carry_out(act))
            except Unreachable:
                if self.site.store.clock.now() >= limit:
                    raise
            await self.site.store.clock.sleep(POLL_SECONDS)

    def _nodes(self, balancer: Balancer) -> list[TierNode]:
        return [node for node in self._switching() if node.is_web or node.host == balancer.host]

    def _proxy(self, node: TierNode) -> Proxy:
        return self.site.tier(node.host, node.key).proxy

    def _view_at(self, node: TierNode) -> ServiceView | None:
        return next((view for view in node.services if view.name == self.service), None)

    async def dead(self) -> list[str]:
        """Return which balancers do not answer now, and why."""
        return [*self.foreign(), *[problem for node in self._switching() for problem in await self._dead(node, self._proxy(node))]]

    def foreign(self) -> list[str]:
        """Return which switching tiers before the service are not ours to work: they would go on sending traffic to what is stopped."""
        ours = {(node.host, node.key) for node in self._switching()}
        needed = [node for node in self.site.wiring.nodes() if node.is_switching and self._view_at(node) is not None]
        return [
            f"{node.host}: {node.key} switches the service's traffic and is not Manor's to work (`manage`); a rollout needs all of them"
            for node in needed
            if (node.host, node.key) not in ours
        ]

    async def _dead(self, node: TierNode, proxy: Proxy) -> list[str]:
        try:
            found = proxy.parse_ready(await self.site.runners[node.host].carry_out(proxy.ready(node)))
        except (Unreachable, CommandFailed) as error:
            found = str(error)
        if found is not None:
            return [f"{node.host}: {node.key} does not answer: {found}"]
        tier, runner = self.site.tier(node.host, node.key), self.site.runners[node.host]
        return [] if node.has_files else [f"{node.host}: {node.key}: {problem}" for problem in await pasted_problems(tier, runner)]

    async def traffic(self, balancer: Balancer) -> tuple[ServerView, ...]:
        """Return how a balancer treats the service's servers."""
        found = [view for node in self._nodes(balancer) for view in await self._traffic_at(node)]
        return tuple(sorted(found, key=lambda view: view.name))

    async def _traffic_at(self, node: TierNode) -> tuple[ServerView, ...]:
        view, proxy = self._view_at(node), self._proxy(node)
        if view is None:
            return ()
        found = await self._ask(node, proxy.observe_switch(node, view), partial(proxy.parse_switch, node, view))
        if all(server.traffic is TrafficState.MAINT for server in found):  # one that has not read its files yet says the same
            await self._ask(node, proxy.ready(node), partial(require_ready, node, proxy))
            found = await self._ask(node, proxy.observe_switch(node, view), partial(proxy.parse_switch, node, view))
        return found

    async def set(self, changes: Mapping[str, TrafficState], here: Here) -> None:
        """Bring servers to a state on every balancer."""
        async with self._lock:
            await self._fence_balancers(here)
            await self._bring(changes, await self._learn(here), here)

    async def _bring(self, changes: Mapping[str, TrafficState], rows: tuple[releases.SlotRow, ...], here: Here) -> None:
        out = {name: state for name, state in changes.items() if state is not TrafficState.READY}
        meant = await self._meant(rows)
        wanted = {at: {**traffic, **changes} for at, traffic in meant.items()}
        await self._refresh(wanted, here)
        for node in self._switching():
            await self._switch_files(node, wanted[node.host, node.key])
        for name, state in out.items():
            await self._remember_traffic(name, state, rows, here)
        await all_done(self._switch(node, changes) for node in self._switching())
        for name in changes.keys() - out:
            await self._remember_traffic(name, TrafficState.READY, rows, here)

    async def _meant(self, rows: tuple[releases.SlotRow, ...]) -> dict[At, Mapping[str, TrafficState]]:
        """Return the traffic that each balancer is to come back with: as the store has it, and what a person took out stays out."""
        return {(node.host, node.key): {**traffic_of(self.view, rows), **await self._held_at(node, rows)} for node in self._switching()}

    async def _held_at(self, node: TierNode, rows: tuple[releases.SlotRow, ...]) -> Mapping[str, TrafficState]:
        deployments = await self.site.store.read(releases.deployments, self.site.wiring.environment.name, self.service)
        return held_out(self.view, rows, deployments, await self._traffic_at(node))

    async def held(self) -> Mapping[str, str]:
        """Return the servers that a person took out of traffic: where, and the command that ends it."""
        rows = await read_slots(self.site.store, self.site.wiring.environment.name, self.service)
        found: dict[str, str] = {}
        for node in self._switching():
            for name, state in (await self._held_at(node, rows)).items():
                found[name] = "; ".join(filter(None, (found.get(name), self._told_held(node, name, state))))
        return found

    async def forgetful(self) -> list[At]:
        """Return the switching tiers that would not come back with the traffic that they have: somebody took something out by hand, or ended that."""
        return [(node.host, node.key) for node, acts in await self._kept() if await self._differs(node, acts)]

    async def keep(self, token: int) -> None:
        """Have every switching tier come back with the traffic that it has. Raises FencedOff."""
        for node, acts in await self._kept():
            if await self._differs(node, acts):
                await self.site.fence(node.host, token)
                await self.site.runners[node.host].change(with_parents(acts))

    async def _kept(self) -> list[tuple[TierNode, tuple[FileAct, ...]]]:
        """Return the acts that write the state files as the store and the tiers themselves say, of tiers that are told of traffic in another way.

        A tier that is switched by its files forgets nothing. One that does not answer, or does not know the service yet, is left out.
        """
        rows = await read_slots(self.site.store, self.site.wiring.environment.name, self.service)
        found = []
        for node in self._switching():
            view, proxy = self._view_at(node), self._proxy(node)
            if view is None or not proxy.switch(node, view, traffic_of(view, rows)):
                continue
            try:
                traffic = {**traffic_of(self.view, rows), **await self._held_at(node, rows)}
            except FencedOff:
                raise
            except ManorError:
                continue
            found.append((node, proxy.switch_files(node, view, of(view, traffic))))
        return found

    async def _differs(self, node: TierNode, acts: Iterable[FileAct]) -> bool:
        wanted = {act.path: act.content for act in acts if isinstance(act, PutFile)}
        try:
            return bool(wanted) and await self.site.runners[node.host].read(wanted) != wanted
        except (NotOurs, Unreachable, CommandFailed):
            return False  # who may not look there, or gets no answer, writes nothing there

    def _told_held(self, node: TierNode, name: str, state: TrafficState) -> str:
        proxy, ready = self._proxy(node), {name: TrafficState.READY}
        alone = replace(self.view, servers=tuple(server for server in self.view.servers if server.name == name))
        acts = proxy.switch(node, alone, ready) or [act for act in proxy.switch_files(node, alone, ready) if not isinstance(act, MakeFolder)]
        files = [str(act.path) for act in acts if isinstance(act, PutFile) and act.content]
        way = f"it is in {', '.join(files)}" if files else f"end that with `{' && '.join(by_hand(act) for act in acts)}`"
        return f"{node.host}: {node.key} has {name} out of traffic ({state.value}), and no operation of Manor's took it out; {way}"

    async def guard(self, server: str, instead: tuple[str, ...], here: Here) -> str:
        """Mark a server on every balancer before it is taken out, each mark watched by a guard; return where there is none, and why."""
        async with self._lock:
            await self._fence_balancers(here)
            rows = await self._learn(here)
            traffic = await self._meant(rows)
            await self._refresh(traffic, here)
            mark = Mark(server, here.operation, self._now(), instead)
            problems = [await guarding.put(mark, traffic[guarding.at], here) for guarding in self._guarding(server)]
            self._marked = (here, self._now())
        return "; ".join(problem for problem in problems if problem)

    async def unguard(self, server: str, here: Here) -> bool:
        """Take a server's marks away; tell whether a guard had returned it in this operation."""
        async with self._lock:
            await self._fence_balancers(here)
            await self._learn(here)
            guarding = self._guarding(server)
            for each in guarding:
                await each.drop(server)
            return any([await each.has_returned(server, here.operation) for each in guarding])

    async def renew(self) -> None:
        """Renew the marks of our operation when it is time. Raises FencedOff if somebody has taken over."""
        if self._marked is None or self._now() < self._marked[1] + self.guard_seconds / RENEWALS:
            return
        async with self._lock:
            here = self._marked[0]
            await self._fence_balancers(here)
            self._marked = (here, self._now())
            for guarding in self._guarding():
                await guarding.renew(here.operation, self._now())

    def _now(self) -> float:
        return self.site.store.clock.now()

    def _guarding(self, server: str | None = None) -> list[Guarding]:
        """Return the marks on every switching tier, or on those that a server stands behind."""
        own = next((known.host for known in self.view.servers if known.name == server), None)
        nodes = [node for node in self._switching() if own is None or not node.is_web or node.host == own]
        views = [(node, self._view_at(node)) for node in nodes]
        return [Guarding(self.site, node, view, self.guard_seconds) for node, view in views if view is not None]

    async def _learn(self, here: Here) -> tuple[releases.SlotRow, ...]:
        """Have what guards returned since somebody looked serve everywhere, and return what the store then says of slots."""
        environment = self.site.wiring.environment.name
        returned = {server: state for guarding in self._guarding() for server, state in (await guarding.returned()).items()}
        rows = await read_slots(self.site.store, environment, self.service)
        for server, state in sorted(returned.items()):
            word = "returned to traffic" if state is TrafficState.READY else "found dead and taken out"
            here.say(f"{server} was {word} by a guard: nobody had gone on in time")
        if returned:
            await self._bring(returned, rows, here)
        return await read_slots(self.site.store, environment, self.service) if returned else rows

    async def _refresh(self, wanted: Mapping[At, Mapping[str, TrafficState]], here: Here) -> None:
        is_marked = [await guarding.refresh(wanted[guarding.at], here, self._now()) for guarding in self._guarding()]
        self._marked = (here, self._now()) if any(is_marked) else None

    async def _fence_balancers(self, here: Here) -> None:
        """Have every balancer's host refuse an executor that was succeeded. Raises FencedOff."""
        for name in self.hosts:
            await self.site.fence(name, here.token)

    async def _switch_files(self, node: TierNode, wanted: Mapping[str, TrafficState]) -> None:
        view, proxy = self._view_at(node), self._proxy(node)
        if view is not None:
            await self.site.runners[node.host].change(with_parents(proxy.switch_files(node, view, of(view, wanted))))

    async def _switch(self, node: TierNode, wanted: Mapping[str, TrafficState]) -> None:
        view, proxy = self._view_at(node), self._proxy(node)
        own = of(view, wanted) if view is not None else {}
        for act in proxy.switch(node, view, own) if view is not None and own else ():
            await self._ask(node, act, done)

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
            at=self.site.store.clock.now(),
        )

    async def set_maintenance(self, here: Here, *, on: bool) -> None:
        """Show the maintenance page, or end it."""
        await self._fence_balancers(here)
        for node in self._switching():
            view, proxy = self._view_at(node), self._proxy(node)
            for act in proxy.maintenance(node, view, on) if view is not None else ():
                await self._ask(node, act, done)

    async def page_differs(self, *, on: bool) -> str:
        """Return the hosts whose balancers don't show the maintenance page as it is to be; empty: none. Nobody sees that of a service without a route."""
        found = [node.host for node in self._switching() if self.view.routes and await self._shows_page(node) is not on]
        return ", ".join(dict.fromkeys(found))

    async def _shows_page(self, node: TierNode) -> bool:
        view, proxy = self._view_at(node) or self.view, self._proxy(node)
        return await self._ask(node, proxy.observe_maintenance(node, view), partial(proxy.parse_maintenance, node, view))


def done(_: Completed) -> None:
    """Ask for nothing but that it was carried out."""


def require_ready(node: TierNode, proxy: Proxy, completed: Completed) -> None:
    """Raise Unreachable of a tier that does not work by its files yet."""
    problem = proxy.parse_ready(completed)
    if problem is not None:
        raise Unreachable(f"{node.host}: {node.key} does not answer: {problem}")


async def all_done(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all to their end, then raise the first error."""
    for ended in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended


def of(view: ServiceView, wanted: Mapping[str, TrafficState]) -> Mapping[str, TrafficState]:
    """Return the part of a traffic state that concerns a tier's own servers."""
    return {server.name: wanted[server.name] for server in view.servers if server.name in wanted}
