"""Take local environments down and give their addresses back."""

from __future__ import annotations

from pathlib import Path

import click

from manor.cli.terminal.options import dry_run_option, environment_option, estate_argument, json_option
from manor.cli.terminal.printing import print_result, printer
from manor.cli.terminal.running import run


@click.command("down")
@estate_argument
@environment_option
@click.option("--purge", is_flag=True, help="Also remove the state folder: releases, receipts, audit and all.")
@dry_run_option
@json_option
def command(estate: Path | None, environments: tuple[str, ...], purge: bool, dry_run: bool, as_json: bool) -> None:
    """End every program of local environments, and without -e the controller; releases, receipts and files stay, and `manor up` brings all back."""
    from manor.cli.terminal.plans import foreseen_printer
    from manor.workflows.context import open_context
    from manor.workflows.controlling import stop_controller
    from manor.workflows.down import give_machine_back, purge_state, take_down
    from manor.workflows.foreseeing import foresee_down

    with open_context(estate, dry_run=dry_run) as context:
        names = environments or tuple(context.estate.environments)
        if dry_run:
            shown = foreseen_printer(as_json=as_json)
            run(lambda stop: foresee_down(context, names, shown, is_whole=not environments, purge=purge))
            return
        if not environments:
            run(lambda stop: stop_controller(context))
        run(lambda stop: take_down(context, names, printer(as_json=as_json)))
        if not environments:
            give_machine_back(context)
        if purge:
            purge_state(context)
        print_result({"environments": list(names), "purged": purge}, as_json=as_json, text=f"{', '.join(names)}: down")
