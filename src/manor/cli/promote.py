"""Roll out in one environment what is certified in the one before it."""

from __future__ import annotations

from pathlib import Path

import click

from manor.cli.terminal.options import dry_run_option, estate_option, json_option, wait_option
from manor.cli.terminal.printing import print_result, printer
from manor.cli.terminal.running import actor, carrying_out, run, run_changing


@click.command("promote")
@click.argument("service")
@estate_option
@click.option("--to", "to", required=True, metavar="ENVIRONMENT", help="The environment that gets it.")
@click.option("--release", default="", help="A release that is certified in the environment before; default the last one.")
@click.option("--again", default="", metavar="REASON", help="A release once more that failed here before, and why.")
@wait_option
@dry_run_option
@json_option
def command(service: str, estate: Path | None, to: str, release: str, again: str, wait_seconds: float, dry_run: bool, as_json: bool) -> None:
    """Promote the same artifact to the next environment."""
    from manor.cli.terminal.plans import foreseen_printer
    from manor.workflows.context import open_context
    from manor.workflows.deliveries import promote
    from manor.workflows.delivery import line_of
    from manor.workflows.foreseeing import foresee_promote

    with open_context(estate, dry_run=dry_run) as context:
        if dry_run:
            shown = foreseen_printer(as_json=as_json)
            run(lambda stop: foresee_promote(context, context.service(service), to, shown, actor=actor(), release=release, again=again))
            return
        context.service(service)
        tell = printer(as_json=as_json)
        one = run_changing(
            context,
            lambda stop: promote(context, service, to, carrying_out(stop, tell, wait_seconds), release=release, again=again),
        )
        print_result(vars(one), as_json=as_json, text=line_of(one))
