"""What in an environment needs a person, one line a reason, each with the command that mends it (docs/verbs/status.md).

Invariant: decides from values alone; what somebody is carrying out needs nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from manor.estate.layout import short
from manor.state.operations import Operation, ways_on
from manor.state.words import OperationState

if TYPE_CHECKING:
    from manor.workflows.status import DeliveryStatus, EnvironmentStatus, HostStatus, LeftStatus, ServiceStatus, SlotStatus


def needs_of(status: EnvironmentStatus) -> tuple[str, ...]:
    """Return every reason, what hurts customers first."""
    if not status.is_up:
        return (f"{status.name} is not up; `manor up -e {status.name}`", *unfinished_needs(status))
    return (*live_needs(status), *unfinished_needs(status))


def live_needs(status: EnvironmentStatus) -> tuple[str, ...]:
    """Return the reasons that hosts and services give."""
    at_work = {operation.service for operation in status.unfinished}
    services = [need for service in status.services for need in service_needs(status.name, service, is_at_work=service.name in at_work)]
    hosts = [need for host in status.hosts for need in host_needs(status.name, host)]
    return (*services, *hosts, *map(left_need, status.left))


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
    """Yield the reasons at a service; while a rollout of it is unfinished, that is what is to be ended first."""
    if service.problem:
        yield f"{service.name}: {service.problem}"
    yield from service.taken_out
    is_seen = any(slot.seen for slot in service.slots)
    if is_at_work or not service.certified or not is_seen:
        return
    sick = [slot for slot in service.slots if is_sick(slot)]
    if not any(slot.seen == "ready" and not is_sick(slot) for slot in service.slots):
        yield f"{service.name} serves nowhere{told_sick(sick)}; {look_and_mend(environment, service)}"
    elif sick:
        yield f"{service.name}{told_sick(sick)}; {look_and_mend(environment, service)}"
    yield from old_ones(environment, service)


def is_sick(slot: SlotStatus) -> bool:
    """Tell whether a slot that is to have traffic fails its balancers' checks."""
    return slot.seen == "ready" and slot.is_healthy is False


def told_sick(sick: list[SlotStatus]) -> str:
    """Return which slots are unhealthy, as the rest of a sentence."""
    return f": {', '.join(slot.server for slot in sick)} {'is' if len(sick) == 1 else 'are'} unhealthy" if sick else ""


def look_and_mend(environment: str, service: ServiceStatus) -> str:
    """Return the commands for a service that does not serve as it should."""
    return f"look with `manor logs {service.name} -e {environment}`, then `manor service restart {service.name} -e {environment}`"


def old_ones(environment: str, service: ServiceStatus) -> Iterator[str]:
    """Yield the reason where hosts serve what is not certified, while nothing is under way."""
    others = [slot for slot in service.slots if slot.seen == "ready" and slot.release and slot.release != service.certified]
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
