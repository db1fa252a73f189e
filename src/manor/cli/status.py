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
from manor.estate.units import counted

if TYPE_CHECKING:
    from manor.workflows.status import EnvironmentStatus, ServiceStatus


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
            print_result({**dataclasses.asdict(status), "needs": status.needs}, as_json=as_json, text="\n".join(status_lines(status)))
    sys.exit(0 if is_well else 1)


def status_lines(status: EnvironmentStatus) -> Iterator[str]:
    """Yield an environment's lines for people; what needs one comes last, where it is seen."""
    yield click.style(status.name, bold=True)
    for host in status.hosts:
        word = host.problem or (f"not running: {', '.join(host.not_running)}" if host.not_running else counted(host.running, "program"))
        yield f"  {host.name:<14} {host.address:<16} {click.style(word, fg='red' if host.problem or host.not_running else None)}"
    for service in status.services:
        yield from slot_lines(service)
    yield from under_way_lines(status)
    for need in status.needs:
        yield f"  {click.style('needs you', fg='red')}  {need}"


def under_way_lines(status: EnvironmentStatus) -> Iterator[str]:
    """Yield what somebody is carrying out, and who holds which lease."""
    pids = {lease.token: lease.pid for lease in status.held}
    for operation in status.unfinished:
        if operation.id in status.carried_out:
            where = operation.phase or operation.state
            yield f"  {operation.verb} {operation.lease} is under way ({where}): operation {operation.id}, pid {pids[operation.token]}"
    for one in status.deliveries:
        if one.is_carried_out:
            what = f"{one.delivery.verb} {one.delivery.service} (artifact {short(one.delivery.artifact)})"
            yield f"  {what} is {one.where} {one.delivery.environment}, on its way"
    shown = {operation.token for operation in status.unfinished if operation.id in status.carried_out}
    for lease in status.held:
        if lease.token not in shown:
            yield f"  lease {lease.name}: {f'operation {lease.operation}' if lease.operation else 'no operation yet'}, pid {lease.pid}"


def service_lines(service: ServiceStatus) -> Iterator[str]:
    """Yield a service's lines, with what is wrong with it below its name."""
    first, *slots = slot_lines(service)
    yield first
    if service.problem:
        yield click.style(f"    {service.problem}", fg="red")
    for told in service.taken_out:
        yield click.style(f"    {told}", fg="yellow")
    yield from slots


def slot_lines(service: ServiceStatus) -> Iterator[str]:
    """Yield a service's name with its slots."""
    yield f"  {click.style(service.name, bold=True)}  {'certified ' + service.certified if service.certified else 'nothing released yet'}"
    for slot in service.slots:
        if slot.release or slot.seen not in {"", "maint"}:
            health = {True: "healthy", False: click.style("unhealthy", fg="red"), None: "-"}[slot.is_healthy] if slot.seen != "maint" else ""
            flight = f"{slot.in_flight} in flight" if slot.in_flight else ""
            yield f"    {slot.server:<14} {slot.release:<13} {slot.seen:<7} {health:<9} {flight}".rstrip()
