"""How everything stands now: hosts, tiers, slots as the balancers see them, operations under way, leases."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from manor.errors import ManorError
from manor.estate.layout import short
from manor.integrations.proxies.base import ServerView
from manor.integrations.supervisors.base import ProgramStatus
from manor.observe.hosts import ObservedHost, observe_host
from manor.observe.slots import read_slots
from manor.reconcile.parts import part_problem
from manor.reconcile.site import Site
from manor.state import deliveries, leases, operations, releases
from manor.state.deliveries import Delivery
from manor.state.leases import Lease
from manor.state.operations import Operation
from manor.state.words import DeliveryState
from manor.workflows.applying import question_of
from manor.workflows.context import Context
from manor.workflows.deliveries import find_orphans
from manor.workflows.resuming import unfinished
from manor.workflows.rolling import make_fleet


@dataclass(frozen=True)
class SlotStatus:
    """One slot as the store and the balancers see it."""

    server: str
    host: str
    release: str
    remembered: str
    """What the store says of its traffic."""
    seen: str
    """What the balancers say: one word if they agree."""
    is_healthy: bool | None
    in_flight: int | None


@dataclass(frozen=True)
class ServiceStatus:
    """A service in one environment."""

    name: str
    certified: str
    slots: tuple[SlotStatus, ...]
    problem: str = ""
    taken_out: tuple[str, ...] = ()
    """What a person took out of traffic: where, and how to end it."""


@dataclass(frozen=True)
class HostStatus:
    """A host and what does not run on it."""

    name: str
    address: str
    running: int
    not_running: tuple[str, ...]
    problem: str = ""


@dataclass(frozen=True)
class DeliveryStatus:
    """A delivery between two environments, or before its first."""

    delivery: Delivery
    where: str
    """`before` or `after` its environment."""
    is_carried_out: bool


@dataclass(frozen=True)
class EnvironmentStatus:
    """One environment."""

    name: str
    hosts: tuple[HostStatus, ...]
    services: tuple[ServiceStatus, ...]
    unfinished: tuple[Operation, ...]
    deliveries: tuple[DeliveryStatus, ...]
    held: tuple[Lease, ...]

    @property
    def is_well(self) -> bool:
        """Tell whether nothing needs a person."""
        return not any(host.problem or host.not_running for host in self.hosts) and not any(each.problem or each.taken_out for each in self.services)


async def environment_status(context: Context, name: str) -> EnvironmentStatus:
    """Return how an environment stands."""
    site = context.site(name)
    names = sorted(site.hosts)
    found = await asyncio.gather(*(observe_host(question_of(site.hosts[host]), site.runners[host], host) for host in names))
    hosts = tuple([with_parts(host_status(site, view), await parts_problem(site, view)) for view in found])
    services = tuple([await service_status(context, name, service) for service in sorted(site.wiring.environment.services)])
    held = tuple(lease for lease in await context.store.read(leases.standing) if lease.name == name or lease.name.startswith(f"{name}/"))
    return EnvironmentStatus(name, hosts, services, await unfinished(context.store, environment=name), await deliveries_at(context, name), held)


async def deliveries_at(context: Context, environment: str) -> tuple[DeliveryStatus, ...]:
    """Return the unfinished deliveries that are at an environment without an operation that could be resumed."""
    orphans = {delivery.id for delivery in await find_orphans(context)}
    found = []
    for delivery in await context.store.read(deliveries.unfinished):
        last = await context.store.read(operations.last_of_delivery, delivery.id, environment)
        if delivery.environment == environment and (last is None or last.state.is_final):
            is_carried_out = delivery.state is DeliveryState.OPEN and delivery.id not in orphans
            found.append(DeliveryStatus(delivery, "after" if last else "before", is_carried_out))
    return tuple(found)


def host_status(site: Site, found: ObservedHost) -> HostStatus:
    """Return how a host stands: tiers have to run; slots run as rollouts left them."""
    host = site.hosts[found.name]
    address = site.wiring.addressing.hosts[found.name].address
    if found.unreachable or found.programs is None:
        return HostStatus(found.name, address, 0, (), found.unreachable or f"{host.supervisor.name} does not answer; `manor up` starts it")
    running = {view.name for view in found.programs if view.status is ProgramStatus.RUNNING}
    must = {program.name for program in host.supervised.programs if program.wanted is None}
    failed = {view.name for view in found.programs if view.status is ProgramStatus.FAILED}
    return HostStatus(found.name, address, len(running), tuple(sorted((must - running) | failed)))


async def parts_problem(site: Site, found: ObservedHost) -> str:
    """Return why tiers that are a part of somebody else's program do not work as declared."""
    if found.unreachable:
        return ""
    parts = [tier for tier in site.hosts[found.name].tiers if tier.node.theirs is not None]
    told = [(tier.node.key, await part_problem(tier, site.runners[found.name])) for tier in parts]
    return "; ".join(f"{key}: {problem}" for key, problem in told if problem)


def with_parts(status: HostStatus, problem: str) -> HostStatus:
    """Return a host's status with what is wrong with parts of other people's programs."""
    return replace(status, problem="; ".join(filter(None, (status.problem, problem))))


async def service_status(context: Context, environment: str, service: str) -> ServiceStatus:
    """Return how a service stands, slot by slot."""
    certified = await context.store.read(releases.last_certified, environment, service)
    rows = await read_slots(context.store, environment, service)
    fleet = replace(make_fleet(context, environment, service, {}), patience_seconds=0.0)  # who looks is told what does not answer, at once
    seen: dict[str, list[ServerView]] = {}
    problem, taken_out = "", tuple[str, ...]()
    try:
        for balancer in fleet.balancers:
            for view in await fleet.traffic(balancer, service):
                seen.setdefault(view.name, []).append(view)
        taken_out = tuple((await fleet.held(service)).values())
    except ManorError as error:
        problem = str(error)
    held = {(row.instance, str(row.slot)): row for row in rows}
    slots = tuple(slot_status(server.name, server.host, held.get((server.instance, server.slot)), seen.get(server.name, [])) for server in fleet.view.servers)
    return ServiceStatus(service, short(certified.id) if certified else "", slots, problem, taken_out)


def slot_status(server: str, host: str, row: releases.SlotRow | None, seen: list[ServerView]) -> SlotStatus:
    """Return how one slot stands."""
    words = sorted({view.traffic.value for view in seen})
    healthy = None if not seen else all(view.is_healthy for view in seen)
    counts = [view.in_flight for view in seen if view.in_flight is not None]
    return SlotStatus(
        server,
        host,
        short(row.release) if row else "",
        str(row.traffic) if row else "none",
        " ≠ ".join(words),
        healthy,
        sum(counts) if counts else None,
    )
