"""Take local environments down and give their addresses back."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import click

from manor.cli.terminal.options import dry_run_option, environment_option, estate_argument, json_option, wait_option
from manor.cli.terminal.printing import print_result, printer
from manor.cli.terminal.running import carrying_out, run, run_changing


@click.command("down")
@estate_argument
@environment_option
@click.option("--purge", is_flag=True, help="Also remove the state folder: releases, receipts, audit and all. Refused while another environment is up.")
@wait_option
@dry_run_option
@json_option
def command(estate: Path | None, environments: tuple[str, ...], purge: bool, wait_seconds: float, dry_run: bool, as_json: bool) -> None:
    """End every program of local environments, and without -e the controller; releases, receipts and files stay, and `manor up` brings all back.

    Nothing is ended while an operation is under way in one of them.
    """
    from manor.cli.terminal.plans import foreseen_printer
    from manor.estate.load import load_estate
    from manor.workflows.context import find_estate, open_context, require_environment, state_folder
    from manor.workflows.down import Extent, give_machine_back, purge_state, take_down
    from manor.workflows.foreseeing import foresee_down

    if not state_folder(file := find_estate(estate)).is_dir():
        declared = load_estate(file)
        print_down(tuple(require_environment(declared, name).name for name in environments) or tuple(declared.environments), (), as_json=as_json)
        return
    with open_context(estate, dry_run=dry_run) as context:
        names = environments or tuple(context.estate.environments)
        for name in names:
            context.environment(name)
        if dry_run:
            shown = foreseen_printer(as_json=as_json)
            run(lambda stop: foresee_down(context, names, shown, is_whole=not environments, purge=purge))
            return
        extent = Extent(names, ends_controller=not environments, purges=purge)
        tell = printer(as_json=as_json)
        results = run_changing(context, lambda stop: take_down(context, extent, carrying_out(stop, tell, wait_seconds)))
        if purge or not environments:
            give_machine_back(context)
        if purge:
            purge_state(context)
        print_down(names, results, purged=purge, as_json=as_json)


def print_down(names: Collection[str], ended: Collection[str], *, as_json: bool, purged: bool = False) -> None:
    """Print which environments were ended, and where there was nothing to end."""
    not_up = [name for name in names if name not in ended]
    told = ((", ".join(ended), "down"), (", ".join(not_up), "nothing to take down"))
    found = {"environments": list(ended), "not_up": not_up, "purged": purged}
    print_result(found, as_json=as_json, text="\n".join(f"{which}: {word}" for which, word in told if which))
