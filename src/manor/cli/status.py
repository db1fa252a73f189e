"""Show how everything stands now."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from manor.cli.terminal.options import environment_option, estate_argument, json_option
from manor.cli.terminal.printing import print_result, say_aside
from manor.cli.terminal.running import run
from manor.estate.layout import short

if TYPE_CHECKING:
    from manor.state.operations import Operation
    from manor.workflows.status import DeliveryStatus, EnvironmentStatus, ServiceStatus


@click.command("status")
@estate_argument
@environment_option
@json_option
def command(estate: Path | None, environments: tuple[str, ...], as_json: bool) -> None:
    """Show hosts, slots as the balancers see them, operations under way and who holds which lease.

    Exit code 1: something needs a person.
    """
    from manor.workflows.snapshots import open_in_need
    from manor.workflows.status import environment_status

    is_well = True
    with open_in_need(estate, say_aside, dry_run=True) as context:
        for name in environments or tuple(context.estate.environments):
            status = run(lambda stop, name=name: environment_status(context, name))  # type: ignore[misc]
            is_well = is_well and status.is_well
            print_result(dataclasses.asdict(status), as_json=as_json, text="\n".join(status_lines(status)))
    sys.exit(0 if is_well else 1)


def status_lines(status: EnvironmentStatus) -> Iterator[str]:
    """Yield an environment's lines for people."""
    yield click.style(status.name, bold=True)
    for host in status.hosts:
        word = host.problem or (f"not running: {', '.join(host.not_running)}" if host.not_running else f"{host.running} programs")
        yield f"  {host.name:<14} {host.address:<16} {click.style(word, fg='red' if host.problem or host.not_running else None)}"
    for service in status.services:
        yield from service_lines(service)
    for operation in status.unfinished:
        yield unfinished_line(operation)
    yield from map(delivery_line, status.deliveries)
    for lease in status.held:
        yield f"  lease {lease.name}: operation {lease.operation}, pid {lease.pid}"


def unfinished_line(operation: Operation) -> str:
    """Return the line of an operation that was begun and has not ended: how far it is, or why it stopped."""
    told = operation.phase or operation.summary
    word = f"{operation.state} ({told})" if told else str(operation.state)
    return click.style(f"  {operation.verb} {operation.lease} is {word}: `manor resume {operation.id}`", fg="yellow")


def delivery_line(status: DeliveryStatus) -> str:
    """Return the line of a delivery between two environments."""
    delivery = status.delivery
    what = f"  {delivery.verb} {delivery.service} (artifact {short(delivery.artifact)}) is {status.where} {delivery.environment}"
    return f"{what}, on its way" if status.is_carried_out else click.style(f"{what}, {delivery.state}: `manor resume {delivery.id}`", fg="yellow")


def service_lines(service: ServiceStatus) -> Iterator[str]:
    """Yield a service's lines."""
    yield f"  {click.style(service.name, bold=True)}  {'certified ' + service.certified if service.certified else 'nothing released yet'}"
    if service.problem:
        yield click.style(f"    {service.problem}", fg="red")
    for told in service.taken_out:
        yield click.style(f"    {told}", fg="yellow")
    for slot in service.slots:
        if slot.release or slot.seen not in {"", "maint"}:
            health = {True: "healthy", False: click.style("unhealthy", fg="red"), None: "-"}[slot.is_healthy] if slot.seen != "maint" else ""
            flight = f"{slot.in_flight} in flight" if slot.in_flight else ""
            yield f"    {slot.server:<14} {slot.release:<13} {slot.seen:<7} {health:<9} {flight}".rstrip()
