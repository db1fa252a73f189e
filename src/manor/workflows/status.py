"""How everything stands now: hosts, tiers, slots as the balancers see them, operations under way, leases."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace

from manor.errors import ManorError
from manor.estate.layout import short
from manor.integrations.supervisors.base import ProgramStatus
from manor.observe.hosts import ObservedHost, observe_host
from manor.observe.slots import read_slots
from manor.operations.planning import Result, standing
from manor.reconcile.ending import BEFORE_CHANGES
from manor.reconcile.parts import part_problem
from manor.reconcile.site import Site
from manor.rollout.live import LiveFleet
from manor.state import deliveries, leases, operations, releases
from manor.state.deliveries import Delivery
from manor.state.holder import this_process
from manor.state.leases import Lease
from manor.state.operations import Operation
from manor.state.words import DeliveryState, OperationState
from manor.workflows.applying import question_of
from manor.workflows.context import Context, has_place
from manor.workflows.deliveries import find_orphans
from manor.workflows.health import SeenAt, all_agree, seen_at
from manor.workflows.needs import needs_of
from manor.workflows.orphans import APPLY
from manor.workflows.probing import LocalProber
from manor.workflows.receipts import VERBS_WITH_RECEIPT
from manor.workflows.resuming import unfinished
from manor.workflows.retrying import bad_hosts

LOOKED_BACK = 200
"""How many operations of an environment are looked through for the last one of each service."""


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
    """What their checks say with one voice; else `at` tells who says what."""
    in_flight: int | None
    at: tuple[SeenAt, ...] = ()
    """How each balancer that answered treats it."""


@dataclass(frozen=True)
class ServiceStatus:
    """A service in one environment."""

    name: str
    certified: str
    slots: tuple[SlotStatus, ...]
    problem: str = ""
    taken_out: tuple[str, ...] = ()
    """What a person took out of traffic: where, and how to end it."""
    silent: tuple[str, ...] = ()
    """The balancers that do not answer."""


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
class LeftStatus:
    """An operation that failed and could not bring some hosts back."""

    operation: Operation
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class EnvironmentStatus:
    """One environment."""

    name: str
    hosts: tuple[HostStatus, ...]
    services: tuple[ServiceStatus, ...]
    unfinished: tuple[Operation, ...]
    deliveries: tuple[DeliveryStatus, ...]
    held: tuple[Lease, ...]
    left: tuple[LeftStatus, ...] = ()
    carried_out: tuple[str, ...] = ()
    """Which of the unfinished operations a living process is carrying out now."""
    is_up: bool = True
    """Whether its hosts were ever given a place; else nothing is known of them."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Return what needs a person, each with the command that mends it."""
        return needs_of(self)

    @property
    def is_well(self) -> bool:
        """Tell whether nothing needs a person."""
        return not self.needs


async def environment_status(context: Context, name: str, site: Site | None = None) -> EnvironmentStatus:
    """Return how an environment stands; a site of it that is known already need not be made again."""
    begun = await unfinished(context.store, environment=name)
    standing_leases = await context.store.read(leases.standing)
    held = tuple(lease for lease in standing_leases if lease.name == name or lease.name.startswith(f"{name}/"))
    is_up = await has_place(context, name)
    hosts, services = await live_status(context, site or context.site(name)) if is_up else ((), ())
    return EnvironmentStatus(
        name,
        hosts,
        services,
        begun,
        await deliveries_at(context, name),
        held,
        await left_at(context, name) if is_up else (),
        tuple(operation.id for operation in begun if is_carried_out(context, operation, held)),
        is_up,
    )


async def live_status(context: Context, site: Site) -> tuple[tuple[HostStatus, ...], tuple[ServiceStatus, ...]]:
    """Return how hosts and services stand; where no supervisor answers, that is said once and not of each service too."""
    found = await asyncio.gather(*(observe_host(question_of(site.hosts[host]), site.runners[host], host) for host in sorted(site.hosts)))
    hosts = tuple([with_parts(host_status(site, view), await parts_problem(site, view)) for view in found])
    services = [await service_status(context, site, service) for service in sorted(site.wiring.environment.services)]
    is_silent = not any(view.programs for view in found)
    return hosts, tuple(replace(service, problem="") if is_silent else service for service in services)


def is_carried_out(context: Context, operation: Operation, held: Iterable[Lease]) -> bool:
    """Tell whether a living process holds the lease under which a running operation goes on."""
    now, me = context.store.clock.now(), this_process()
    return operation.state is OperationState.RUNNING and any(lease.token == operation.token and leases.is_held(lease, me, now) for lease in held)


async def left_at(context: Context, environment: str) -> tuple[LeftStatus, ...]:
    """Return the last operations of each service, and of the environment, that failed and left hosts as they should not be."""
    found: dict[str, Operation] = {}
    for one in await context.store.read(operations.recent, environment, limit=LOOKED_BACK):
        if one.verb in (APPLY, *VERBS_WITH_RECEIPT):
            found.setdefault(one.service, one)
    failed = [last for last in found.values() if last.state is OperationState.FAILED]
    ended = [await standing(context.store, last.id) for last in failed]
    left = [LeftStatus(result.operation, tuple(sorted(bad_hosts(result)))) for result in ended if not has_changed_nothing(result)]
    return tuple(one for one in left if one.hosts)


def has_changed_nothing(result: Result) -> bool:
    """Tell whether an apply was refused before its first change: then every host is as it was."""
    return result.operation.verb == APPLY and {step.kind for step in result.failed} <= BEFORE_CHANGES


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


async def service_status(context: Context, site: Site, service: str) -> ServiceStatus:
    """Return how a service stands, slot by slot."""
    environment = site.wiring.environment.name
    certified = await context.store.read(releases.last_certified, environment, service)
    rows = await read_slots(context.store, environment, service)
    fleet = LiveFleet(
        site, service, {}, context.store.folder.artifacts, LocalProber(context, environment, service), patience_seconds=0.0
    )  # who looks is told what does not answer, at once
    seen, problems = await seen_by_each(fleet)
    taken_out: tuple[str, ...] = ()
    try:
        taken_out = tuple((await fleet.held(service)).values())
    except ManorError as error:
        problems.setdefault("", str(error))
    held = {(row.instance, str(row.slot)): row for row in rows}
    slots = tuple(slot_status(server.name, server.host, held.get((server.instance, server.slot)), seen.get(server.name, ())) for server in fleet.view.servers)
    silent = tuple(name for name in problems if name)
    return ServiceStatus(service, short(certified.id) if certified else "", slots, "; ".join(dict.fromkeys(problems.values())), taken_out, silent)


async def seen_by_each(fleet: LiveFleet) -> tuple[dict[str, tuple[SeenAt, ...]], dict[str, str]]:
    """Return how each balancer treats each slot, and why a balancer does not say."""
    seen: dict[str, tuple[SeenAt, ...]] = {}
    problems: dict[str, str] = {}
    for balancer in fleet.balancers:
        try:
            views = await fleet.traffic(balancer, fleet.service)
        except ManorError as error:
            problems[balancer.host] = str(error)
        else:
            seen |= {view.name: (*seen.get(view.name, ()), seen_at(balancer.host, view)) for view in views}
    return seen, problems


def slot_status(server: str, host: str, row: releases.SlotRow | None, at: tuple[SeenAt, ...]) -> SlotStatus:
    """Return how one slot stands."""
    counts = [view.in_flight for view in at if view.in_flight is not None]
    return SlotStatus(
        server,
        host,
        short(row.release) if row else "",
        str(row.traffic) if row else "none",
        " ≠ ".join(sorted({view.traffic for view in at})),
        all_agree([view.is_healthy for view in at]),
        sum(counts) if counts else None,
        at,
    )
