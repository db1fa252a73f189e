"""List services, restart one without losing a request, take one out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from manor.cli.terminal.options import dry_run_option, environment_option, estate_option, json_option, wait_option
from manor.cli.terminal.printing import print_result, printer
from manor.cli.terminal.running import carrying_out, run, run_changing

if TYPE_CHECKING:
    from manor.workflows.services import ServiceRow

one_environment = click.option("-e", "--environment", required=True, help="Where.")


@click.group("service")
def command() -> None:
    """Services in their environments."""


@command.command("list")
@estate_option
@environment_option
@json_option
def list_command(estate: Path | None, environments: tuple[str, ...], as_json: bool) -> None:
    """List services: certified release and hosts, by environment; also those that run and are no longer declared."""
    from manor.workflows.context import open_context
    from manor.workflows.services import list_services

    with open_context(estate) as context:
        rows = run(lambda stop: list_services(context, environments or tuple(context.estate.environments)))
    print_result({"services": [dataclasses.asdict(row) for row in rows]}, as_json=as_json, text="\n".join(map(service_line, rows)) or "no services")


def service_line(row: ServiceRow) -> str:
    """Return a service's line."""
    note = "" if row.is_declared else f"  no longer declared: `manor service remove {row.service} -e {row.environment}`"
    return f"{row.environment:<10} {row.service:<20} {row.certified or '-':<12}  {', '.join(row.instances) or 'nowhere yet'}{note}"


@command.command("show")
@click.argument("service")
@estate_option
@environment_option
@json_option
def show_command(service: str, estate: Path | None, environments: tuple[str, ...], as_json: bool) -> None:
    """Show a SERVICE slot by slot, as the balancers see it."""
    from manor.cli.status import service_lines
    from manor.errors import UsageError
    from manor.workflows.context import open_context
    from manor.workflows.status import service_status

    with open_context(estate) as context:
        context.service(service)
        names = [name for name in environments or tuple(context.estate.environments) if service in context.environment(name).services]
        if not names:
            raise UsageError(f"{', '.join(environments)} has no service {service!r}")
        for name in names:
            status = run(lambda stop, name=name: service_status(context, context.site(name), service))  # type: ignore[misc]
            lines = [click.style(name, bold=True), *service_lines(status)]
            print_result({"environment": name, **dataclasses.asdict(status)}, as_json=as_json, text="\n".join(lines))


@command.command("restart")
@click.argument("service")
@estate_option
@one_environment
@wait_option
@dry_run_option
@json_option
def restart_command(service: str, estate: Path | None, environment: str, wait_seconds: float, dry_run: bool, as_json: bool) -> None:
    """Restart a SERVICE by an ordinary rollout of its certified release: nothing is lost, and there is a receipt."""
    from manor.cli.terminal.plans import foreseen_printer
    from manor.workflows.context import open_context
    from manor.workflows.delivery import line_of
    from manor.workflows.foreseeing import foresee_restart
    from manor.workflows.services import restart_service

    with open_context(estate, dry_run=dry_run) as context:
        if dry_run:
            run(lambda stop: foresee_restart(context, context.service(service), environment, foreseen_printer(as_json=as_json)))
            return
        context.service(service)
        tell = printer(as_json=as_json)
        one = run_changing(context, lambda stop: restart_service(context, service, environment, carrying_out(stop, tell, wait_seconds)))
        print_result(vars(one), as_json=as_json, text=line_of(one))


@command.command("remove")
@click.argument("service")
@estate_option
@one_environment
@wait_option
@dry_run_option
@json_option
def remove_command(service: str, estate: Path | None, environment: str, wait_seconds: float, dry_run: bool, as_json: bool) -> None:
    """Take a SERVICE out that the estate no longer declares: drained, stopped, files and rows gone; shared data stays."""
    from manor.cli.terminal.plans import foreseen_printer
    from manor.workflows.context import open_context
    from manor.workflows.foreseeing import foresee_removal
    from manor.workflows.services import remove_service

    with open_context(estate, dry_run=dry_run) as context:
        if dry_run:
            run(lambda stop: foresee_removal(context, service, environment, foreseen_printer(as_json=as_json)))
            return
        tell = printer(as_json=as_json)
        result = run_changing(context, lambda stop: remove_service(context, service, environment, carrying_out(stop, tell, wait_seconds)))
        word = f"removed; now `manor apply -e {environment} --allow-destroy` takes it out of the tiers" if result else "nothing to do; nothing of it is there"
        found = {"environment": environment, "service": service, "changed": result is not None, "operation": result.operation.id if result else ""}
        print_result(found, as_json=as_json, text=f"{environment}: {service}: {word}")
