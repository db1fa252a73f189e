"""Return an environment to a certified release."""

from __future__ import annotations

from pathlib import Path

import click

from manor.cli.terminal.options import dry_run_option, estate_option, json_option, wait_option
from manor.cli.terminal.printing import print_result, printer, say_aside
from manor.cli.terminal.running import carrying_out, run, run_changing


@click.command("rollback")
@click.argument("service")
@estate_option
@click.option("-e", "--environment", required=True, help="Where.")
@click.option("--to", "to", default="", metavar="RELEASE", help="A release that is certified there; default the last one before the present.")
@wait_option
@dry_run_option
@json_option
def command(service: str, estate: Path | None, environment: str, to: str, wait_seconds: float, dry_run: bool, as_json: bool) -> None:
    """Roll back by the same rules as forward, without waiting beyond the health passes. Needs no approval."""
    from manor.cli.terminal.plans import foreseen_printer
    from manor.workflows.delivery import line_of
    from manor.workflows.foreseeing import foresee_rollback
    from manor.workflows.rollback import rollback
    from manor.workflows.snapshots import open_in_need

    with open_in_need(estate, say_aside, dry_run=dry_run) as context:
        if dry_run:
            run(lambda stop: foresee_rollback(context, context.service(service), environment, foreseen_printer(as_json=as_json), to=to))
            return
        context.service(service)
        tell = printer(as_json=as_json)
        one = run_changing(context, lambda stop: rollback(context, service, environment, carrying_out(stop, tell, wait_seconds), to=to))
        print_result(vars(one), as_json=as_json, text=line_of(one))
