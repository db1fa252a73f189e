"""What in an environment needs a person, one line a reason, each with the command that mends it (docs/verbs/status.md).

Invariant: decides from values alone; what somebody is carrying out needs nobody, but that a service does not serve is told whoever is at work.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from manor.estate.layout import short
from manor.state.operations import Operation, ways_on
from manor.state.words import OperationState
from manor.workflows.health import READY, Judgement, is_disputed, judge, sick_at, told_dispute

if TYPE_CHECKING:
    from manor.workflows.status import DeliveryStatus, EnvironmentStatus, HostStatus, LeftStatus, ServiceStatus, SlotStatus


def needs_of(status: EnvironmentStatus) -> tuple[str, ...]:
    """Return every reason, what hurts customers first."""
    if not status.is_up:
        return (f"{status.name} is not up; `manor up -e {status.name}`", *unfinished_needs(status))
    return (*live_needs(status), *unfinished_needs(status))


def live_needs(status: EnvironmentStatus) -> tuple[str, ...]:
    """Return the reasons that hosts and services give."""
    busy = at_work(status)
    services = [need for service in status.services for need in service_needs(status.name, service, is_at_work=service.name in busy)]
    hosts = [need for host in status.hosts for need in host_needs(status.name, host)]
    return (*services, *hosts, *map(left_need, status.left))


def at_work(status: EnvironmentStatus) -> frozenset[str]:
    """Return the services of which an operation is unfinished, whoever carries it out or does not."""
    return frozenset(operation.service for operation in status.unfinished)


def unfinished_needs(status: EnvironmentStatus) -> tuple[str, ...]:
    """Return the reasons among what was begun and has not ended."""
    stopped = [operation_need(one) for one in status.unfinished if one.id not in status.carried_out]
    return (*stopped, *(delivery_need(one) for one in status.deliveries if not one.is_carried_out))


def host_needs(environment: str, host: HostStatus) -> Iterator[str]:
    """Yield the reasons on a host."""
    if host.problem:
        yield f"{host.name}: {host.problem}"
    if host.not_running:
        yield f"{host.name}: not running: {', '.join(host.not_running)}; `manor up -e {environment}` starts it, its log is in `manor logs --host {host.name}`"


def service_needs(environment: str, service: ServiceStatus, *, is_at_work: bool) -> Iterator[str]:
    """Yield the reasons at a service; while a rollout of it is unfinished, only that customers are hurt."""
    if service.problem:
        yield f"{service.name}: {service.problem}"
    yield from service.taken_out
    found = judge(service, is_at_work=is_at_work)
    sick = [slot for slot in service.slots if sick_at(slot)]
    if found.health == "outage":
        yield f"{service.name} serves nowhere{told_sick(sick)}; {way_out(environment, service, sick, is_at_work=is_at_work)}"
    elif found.health == "partial":
        yield f"{service.name} serves only in part: {told_parts(service, found)}; {way_out(environment, service, sick, is_at_work=is_at_work)}"
    elif sick and found.health and not is_at_work:
        yield f"{service.name}{told_sick(sick)}; {way_out(environment, service, sick, is_at_work=False)}"
    if service.certified and not is_at_work:
        yield from old_ones(environment, service)


def told_sick(sick: list[SlotStatus]) -> str:
    """Return which slots are unhealthy, as the rest of a sentence; of one on which balancers disagree, to whom."""
    disputed = [f"{slot.server} is {told_dispute(slot)}" for slot in sick if is_disputed(slot)]
    agreed = [slot.server for slot in sick if not is_disputed(slot)]
    told = [f"{', '.join(agreed)} {'is' if len(agreed) == 1 else 'are'} unhealthy"] if agreed else []
    return f": {'; '.join((*told, *disputed))}" if sick else ""


def told_parts(service: ServiceStatus, found: Judgement) -> str:
    """Return which balancers serve a service and which do not, and why not."""
    dead = [f"{name}: nothing {'healthy' if any(name in sick_at(slot) for slot in service.slots) else 'in traffic'}" for name in found.dead]
    return "; ".join((*dead, *(f"{name} serves" for name in found.serving), *(f"{name} does not answer" for name in service.silent)))


def way_out(environment: str, service: ServiceStatus, sick: list[SlotStatus], *, is_at_work: bool) -> str:
    """Return what to do for a service that does not serve as it should. A restart is advised only where it could mend that."""
    if is_at_work:
        return "an operation of it is unfinished: let that end first"
    if service.silent:
        return f"have {', '.join(service.silent)} answer first: `manor up -e {environment}`"
    if service.taken_out:
        return "first return what was taken out of traffic"
    if disputed := [slot for slot in sick if is_disputed(slot)]:
        edges = dict.fromkeys(name for slot in disputed for name in sick_at(slot))
        looks = ", ".join(f"`manor logs --host {name} -e {environment}`" for name in edges)
        return f"other balancers find the same programs healthy: look at the way to them, with {looks}"
    return look_and_mend(environment, service)


def look_and_mend(environment: str, service: ServiceStatus) -> str:
    """Return the commands for a service whose programs do not work."""
    return f"look with `manor logs {service.name} -e {environment}`, then `manor service restart {service.name} -e {environment}`"


def old_ones(environment: str, service: ServiceStatus) -> Iterator[str]:
    """Yield the reason where hosts serve what is not certified, while nothing is under way."""
    others = [slot for slot in service.slots if any(view.traffic == READY for view in slot.at) and slot.release and slot.release != service.certified]
    if others:
        told = ", ".join(f"{slot.host} serves {slot.release}" for slot in others)
        yield f"{service.name}: {told}, not the certified {service.certified}; `manor service restart {service.name} -e {environment}`"


def left_need(left: LeftStatus) -> str:
    """Return the reason where a failure left hosts as they should not be."""
    what = f"{left.operation.verb} {left.operation.lease} failed, and {', '.join(left.hosts)} {'was' if len(left.hosts) == 1 else 'were'} not brought back"
    return f"{what}: `manor resume {left.operation.id} --only failed`"


def operation_need(operation: Operation) -> str:
    """Return the reason of an operation that nobody carries out."""
    state = "paused" if operation.state is OperationState.PAUSED else "half done, and nobody carries it out"
    told = operation.summary or operation.phase
    return f"{operation.verb} {operation.lease} is {state}{f' ({told})' if told else ''}: {ways_on(operation.id)}"


def delivery_need(status: DeliveryStatus) -> str:
    """Return the reason of a delivery that nobody carries on."""
    one = status.delivery
    return f"{one.verb} {one.service} (artifact {short(one.artifact)}) is {status.where} {one.environment}, {one.state}: {ways_on(one.id)}"
