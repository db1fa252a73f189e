"""What was on the air before a tier changed is on the air after it (docs/apply.md, on the air).

Invariant: reads only. A server serves if its switching tier sends traffic to it and takes it for healthy, and it answers as that tier asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias, TypeVar

from pydantic import TypeAdapter

from manor.errors import ApplyFailed, CommandFailed, ManorError, Unreachable
from manor.estate.model import Health
from manor.estate.topology import ServiceView, SlotServer, TierNode, TrafficState
from manor.execution.base import Runner
from manor.integrations.proxies.base import ServerView
from manor.observe.health import http_code, http_problem, refusal
from manor.reconcile.desired import DesiredTier
from manor.reconcile.site import Site

ASK_SECONDS = 0.5
SLACK_SECONDS = 3.0
LONGEST_SECONDS = 60.0
"""However slow a service's checks are: so long an apply waits for it, twice within the time of its step."""
AT_ONCE = 20
"""So many servers of a service are asked at a time."""
PORT = b"MANOR_PORT="
SERVER_ERROR = 500
"""From this status on an answer says that the program fails; another one may be to a path that it does not know yet."""


@dataclass(frozen=True)
class Served:
    """A service that was on the air at a switching tier before a change."""

    host: str
    key: str
    service: str
    servers: tuple[str, ...]
    """Those of its servers that served, and that the change concerns."""
    moved: tuple[str, ...] = ()
    """Those of them that stand at another port than is declared now."""


Say: TypeAlias = Callable[[str], None]
Seen = TypeVar("Seen")
Ask: TypeAlias = Callable[[Served], Awaitable[Mapping[str, str]]]
"""What is known against each server of a service."""
SERVED: TypeAdapter[tuple[Served, ...]] = TypeAdapter(tuple[Served, ...])


async def servers_now(tier: DesiredTier, view: ServiceView, runner: Runner) -> tuple[ServerView, ...]:
    """Return how a running process sees those servers of a service that it knows; nothing if it does not answer."""
    try:
        completed = await runner.carry_out(tier.proxy.observe_switch(tier.node, view))
    except (Unreachable, CommandFailed):
        return ()
    found: list[ServerView] = []
    for server in view.servers:
        with suppress(ManorError, ValueError):  # it works by older files, which do not have this one
            found += tier.proxy.parse_switch(tier.node, replace(view, servers=(server,)), completed)
    return tuple(found)


def is_serving(server: ServerView) -> bool:
    """Tell whether a switching tier sends traffic to a server; of one that checks nothing health is not known."""
    return server.traffic is TrafficState.READY and server.is_healthy is not False


async def read_served(ports: Site, tier: DesiredTier) -> tuple[Served, ...]:
    """Return what is on the air now and would suffer from a change of this tier."""
    found = await asyncio.gather(*(served_at(ports, tier.node, balancer, view) for balancer, view in concerned(ports, tier.node)))
    return tuple(one for one in found if one is not None)


def concerned(ports: Site, node: TierNode) -> list[tuple[DesiredTier, ServiceView]]:
    """Return the services that a tier's change concerns, each with the tier that switches it: itself, or those before a web tier.

    Behind a web tier only the servers of its own host are concerned.
    """
    if not (node.is_switching or node.is_web):
        return []
    names = {view.name for view in node.services}
    every = [tier for host in ports.hosts.values() for tier in host.tiers if tier.node.is_switching]
    before = [tier for tier in every if not node.is_switching or (tier.node.host, tier.node.key) == (node.host, node.key)]
    found = [(tier, view if node.is_switching else behind(view, node.host)) for tier in before for view in tier.node.services if view.name in names]
    return [(tier, view) for tier, view in found if view.servers]


def behind(view: ServiceView, host: str) -> ServiceView:
    """Return a service with its servers on one host only."""
    return replace(view, servers=tuple(server for server in view.servers if server.host == host))


async def served_at(ports: Site, changed: TierNode, balancer: DesiredTier, view: ServiceView) -> Served | None:
    """Return which servers of a service serve at a switching tier; None: none does."""
    node = balancer.node
    names = {one.name for one in await servers_now(balancer, view, ports.runners[node.host]) if is_serving(one)}
    asking = [Asking(ports, balancer, view, server) for server in view.servers if server.name in names]
    now = [(one, await one.port_now()) for one in asking]
    serving = [(one, port) for one, port in now if balancer.proxy.traits.switch_checks or await one.accepts(port or one.port)]
    moved = [one for one, port in serving if await one.is_moved(port, is_behind=not changed.is_switching)]
    found = [tuple(one.server.name for one in some) for some in ([one for one, _ in serving], moved)]
    return Served(node.host, node.key, view.name, *found) if serving else None


@dataclass(frozen=True)
class Asking:
    """One server of a service, asked on its own host."""

    ports: Site
    balancer: DesiredTier
    view: ServiceView
    server: SlotServer

    @property
    def runner(self) -> Runner:
        """The runner of its host; the balancer's, where nothing is Manor's on its own."""
        return self.ports.runners.get(self.server.host) or self.ports.runners[self.balancer.node.host]

    @property
    def port(self) -> int:
        """The declared port of its program, or of the web tier where there is none."""
        return self.server.service_port or self.server.port

    async def port_now(self) -> int | None:
        """Return the port that its program was started with; None: not known, or there is no program."""
        host = self.ports.hosts.get(self.server.host)
        if host is None or self.server.service_port is None:
            return None
        path = host.layout.slot_env(self.view.name, self.server.slot)
        try:
            lines = (await self.runner.read([path])).get(path, b"").splitlines()
        except Unreachable:
            return None
        return next((int(line.removeprefix(PORT)) for line in lines if line.startswith(PORT)), None)

    async def is_moved(self, port_now: int | None, *, is_behind: bool) -> bool:
        """Tell whether it is declared at another port than it stands at. Where there is no program, its web tier listens at another one for those before it."""
        if self.server.service_port is None:
            return is_behind and not await self.accepts(self.server.port)
        return port_now is not None and port_now != self.server.service_port

    async def accepts(self, port: int) -> bool:
        """Tell whether something accepts connections at a port of its address."""
        return not await refusal(self.runner, self.view, self.server, port)

    async def problem(self, seen: ServerView | None) -> str:
        """Return why it does not serve; empty: it does."""
        if seen is None or seen.traffic is not TrafficState.READY:
            return f"{self.server.name} {'is not known to' if seen is None else 'gets no traffic from'} {self.balancer.node.key}"
        told = await self._answer()
        if told:
            return f"{self.server.name}: {told}"
        return "" if is_serving(seen) else f"{self.server.name}: {self.balancer.node.key} sees it as {seen.detail or 'down'}"

    async def foreseen(self, one: Served, *, is_asked: bool) -> str:
        """Return why it would not serve by the declared files, as far as that shows before a change; empty: nothing is known against it."""
        name = self.server.name
        if name in one.moved:
            return f"{name} stands at another port than {self.port}, which is declared"
        told = await http_problem(self.runner, self.view, self.server) if is_asked and self._is_http else ""
        return f"{name}: {told}" if told else ""

    async def own_problem(self) -> str:
        """Return why its program fails by itself, asked at its own port past every tier; empty: it answers, or there is none."""
        port = await self.port_now() or self.server.service_port
        if port is None:
            return ""
        told = await refusal(self.runner, self.view, self.server, port) or await self._failure(port)
        return f"the program of {self.server.name} fails at its own port {port}: {told}" if told else ""

    async def _failure(self, port: int) -> str:
        if self.view.health.http is None:
            return ""
        try:
            code = await http_code(self.runner, self.view, self.server, port)
        except (Unreachable, CommandFailed) as error:
            return str(error)
        return f"{self.view.health.http} answers {code}" if code >= SERVER_ERROR else ""

    @property
    def _is_http(self) -> bool:
        return asks_http(self.balancer, self.view)

    async def _answer(self) -> str:
        """Return what is wrong with its answer to what its switching tier asks. One that checks nothing only has to lead somewhere."""
        asked = self.runner, self.view, self.server
        return await http_problem(*asked) if self._is_http else await refusal(*asked, self.port) or await refusal(*asked, self.server.port)


def asks_http(balancer: DesiredTier, view: ServiceView) -> bool:
    """Tell whether a switching tier asks a service's servers by HTTP."""
    return view.health.http is not None and bool(balancer.proxy.traits.switch_checks)


def patience_seconds(health: Health) -> float:
    """Return how long a service may take until its switching tier knows how it is."""
    return min(health.interval * (health.passes + health.fails) + health.timeout + SLACK_SECONDS, LONGEST_SECONDS)


def notice_seconds(health: Health) -> float:
    """Return how long a switching tier may take for a healthy server what is none any more."""
    return min(health.interval * health.fails + health.timeout, LONGEST_SECONDS)


async def require_foreseen(ports: Site, changed: TierNode, served: Iterable[Served], say: Say) -> None:
    """Ask what is on the air as it will be asked by the declared files, before a tier is changed. Raises ApplyFailed where too little would be left.

    Through a web tier that is about to change itself nothing is asked: its new files may be what answers.
    """

    async def ask(one: Served) -> Mapping[str, str]:
        return await ask_all(ports, one, lambda asking, _seen: asking.foreseen(one, is_asked=changed.is_switching))

    raise_off(await asyncio.gather(*(wait_for(ports, one, ask, notice_seconds, say) for one in served)))


async def require_serving(ports: Site, served: Iterable[Served], say: Say) -> None:
    """Wait until everything that was on the air is so again; fewer servers than before are told. Raises ApplyFailed where too few are left, and why."""

    async def ask(one: Served) -> Mapping[str, str]:
        return await ask_all(ports, one, Asking.problem)

    raise_off(await asyncio.gather(*(wait_for(ports, one, ask, patience_seconds, say) for one in served)))


def raise_off(problems: Iterable[str]) -> None:
    """Raise ApplyFailed with what is off the air, if anything is."""
    told = "; ".join(problem for problem in problems if problem)
    if told:
        raise ApplyFailed(told)


async def wait_for(ports: Site, one: Served, ask: Ask, seconds: Callable[[Health], float], say: Say) -> str:
    """Wait until nothing is known against a service's servers; return why too few are left, if so."""
    balancer, view = at_stake(ports, one)
    problems = await until(ports, partial(ask, one), lambda problems: not any(problems.values()), seconds(view.health))
    return judged(one, problems, say, least=least_of(ports, one), is_http=asks_http(balancer, view))


async def until(ports: Site, look: Callable[[], Awaitable[Seen]], is_enough: Callable[[Seen], bool], seconds: float, least_seconds: float = 0.0) -> Seen:
    """Look again and again until that is enough, but for `least_seconds` at the least and `seconds` at the most; return what was seen last."""
    clock = ports.store.clock
    begun = clock.now()
    while True:
        seen = await look()
        passed = clock.now() - begun
        if passed >= seconds or (passed >= least_seconds and is_enough(seen)):
            return seen
        await clock.sleep(ASK_SECONDS)


def at_stake(ports: Site, one: Served) -> tuple[DesiredTier, ServiceView]:
    """Return the switching tier, and the service with the servers that served."""
    balancer = ports.tier(one.host, one.key)
    view = next(view for view in balancer.node.services if view.name == one.service)
    return balancer, replace(view, servers=tuple(server for server in view.servers if server.name in one.servers))


async def ask_all(ports: Site, one: Served, question: Callable[[Asking, ServerView | None], Awaitable[str]]) -> Mapping[str, str]:
    """Return for each server what is known against it; empty: nothing."""
    balancer, view = at_stake(ports, one)
    seen = {server.name: server for server in await servers_now(balancer, view, ports.runners[one.host])}
    asking, problems = [Asking(ports, balancer, view, server) for server in view.servers], list[str]()
    for begin in range(0, len(asking), AT_ONCE):
        problems += await asyncio.gather(*(question(each, seen.get(each.server.name)) for each in asking[begin : begin + AT_ONCE]))
    return {each.server.name: problem for each, problem in zip(asking, problems, strict=True)}


def least_of(ports: Site, one: Served) -> int:
    """Return how many of the servers that served have to be left: as many as a rollout would leave, and one at the least."""
    return max(1, ports.wiring.environment.services[one.service].rollout.least_healthy(len(one.servers)))


def judged(one: Served, problems: Mapping[str, str], say: Say, *, least: int, is_http: bool) -> str:
    """Return why too few servers of a service are left; empty if enough serve, and those that don't are told."""
    bad = [problem for problem in problems.values() if problem]
    left, where = len(problems) - len(bad), f"at {one.host} {one.key}"
    if not bad:
        return ""
    if left >= least:
        say(f"warning: {one.service} has {left} of {len(problems)} servers left {where}: {'; '.join(bad)}")
        return ""
    lost = (
        f"leave {one.service} {left} of {len(problems)} servers {where}, {least} are needed (min_healthy)"
        if left
        else f"take {one.service} off the air {where}"
    )
    return f"it would {lost}: {'; '.join(bad)}; {way_out(one, is_http=is_http)}"


def way_out(one: Served, *, is_http: bool) -> str:
    """Return what to do instead."""
    if one.moved:
        return "it runs at another port than is declared: take `run.port` back, and let a second service with the new port take its routes over"
    if is_http:
        way = "ship a release that answers both paths first, then change health, then apply"
        return f"if `health` has changed: {way}; else see why it fails with `manor logs {one.service}`"
    return "what serves has to accept connections first"


async def require_back(ports: Site, served: Sequence[Served], *, is_settled: bool = False) -> str:
    """Wait until what was on the air is so, as the switching tiers see it after their checks; settled ones had the time for these.

    Return what is missing because its program fails by itself; empty: nothing. Raises ApplyFailed where nothing serves, or a program that works is not seen.
    """
    found = await asyncio.gather(*(wait_back(ports, one, is_settled=is_settled) for one in served))
    short = [(one, names) for one, names in zip(served, found, strict=True) if len(names) < least_of(ports, one)]
    problems = await asyncio.gather(*(ask_all(ports, one, lambda asking, _seen: asking.own_problem()) for one, _ in short))
    lacking = [(one, names, {name: told for name, told in own.items() if name not in names}) for (one, names), own in zip(short, problems, strict=True)]
    raise_off(unseen(ports, *each) for each in lacking)
    return "; ".join(f"{one.service} has {count_text(ports, one, names)}: {'; '.join(own.values())}" for one, names, own in lacking)


def unseen(ports: Site, one: Served, names: Collection[str], own: Mapping[str, str]) -> str:
    """Return that too few serve and it is not their programs' fault, or that none does; empty: each that is missing fails by itself."""
    if names and all(own.values()):
        return ""
    told = (problem or f"{name} answers at its own port" for name, problem in own.items())
    return f"{one.service} does not serve again: {count_text(ports, one, names)}: {'; '.join(told)}"


def count_text(ports: Site, one: Served, names: Collection[str]) -> str:
    """Return how many of the servers that served do, and have to."""
    return f"{len(names)} of {len(one.servers)} servers at {one.host} {one.key}, {least_of(ports, one)} are needed"


async def wait_back(ports: Site, one: Served, *, is_settled: bool) -> frozenset[str]:
    """Wait until a switching tier takes enough servers for healthy, after it had time to notice that they are not; return those that it does."""
    balancer, view = at_stake(ports, one)
    least_seconds = 0.0 if is_settled else notice_seconds(view.health)

    async def serving() -> frozenset[str]:
        return frozenset(seen.name for seen in await servers_now(balancer, view, ports.runners[one.host]) if is_serving(seen))

    return await until(ports, serving, lambda found: len(found) >= least_of(ports, one), patience_seconds(view.health), least_seconds)
