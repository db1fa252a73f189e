"""Ship an artifact: from the first environment as far as it may go, with a receipt each."""

from __future__ import annotations

from pathlib import Path

import click

from manor.cli.terminal.options import dry_run_option, estate_option, json_option, wait_option
from manor.cli.terminal.printing import print_result, printer
from manor.cli.terminal.running import actor, carrying_out, run, run_changing


@click.command("ship")
@click.argument("service")
@estate_option
@click.option("--artifact", required=True, type=click.Path(path_type=Path, exists=True), help="A tar, tar.gz or zip file, or a folder.")
@click.option("--commit", default="", help="The commit that it was built from.")
@click.option("--build-url", default="", help="Where it was built.")
@click.option("--junit", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="The report of its tests, for the gate `tests`.")
@click.option("--to", "to", default="", metavar="ENVIRONMENT", help="Stop after this environment.")
@click.option("--again", default="", metavar="REASON", help="Ship a release once more that failed before, and why.")
@wait_option
@dry_run_option
@json_option
def command(
    service: str,
    estate: Path | None,
    artifact: Path,
    commit: str,
    build_url: str,
    junit: Path | None,
    to: str,
    again: str,
    wait_seconds: float,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Hand in an artifact and roll it out, environment by environment.

    It goes on to the next one when it is certified, unless that says `promote: by_hand` or a gate does not hold.
    """
    from manor.cli.terminal.plans import foreseen_printer
    from manor.workflows.artifacts import Origin
    from manor.workflows.context import open_context
    from manor.workflows.deliveries import ship
    from manor.workflows.delivery import summary_lines
    from manor.workflows.foreseeing import foresee_ship

    origin = Origin(commit, build_url, junit)
    with open_context(estate, dry_run=dry_run) as context:
        context.service(service)
        if dry_run:
            shown = foreseen_printer(as_json=as_json)
            run(lambda stop: foresee_ship(context, context.service(service), artifact, shown, actor=actor(), origin=origin, to=to, again=again))
            return
        tell = printer(as_json=as_json)
        delivered = run_changing(
            context, lambda stop: ship(context, service, artifact, carrying_out(stop, tell, wait_seconds), origin=origin, to=to, again=again)
        )
        for one, line in zip(delivered, summary_lines(delivered), strict=True):
            print_result(vars(one), as_json=as_json, text=line)
