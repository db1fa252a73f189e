"""Bring local environments up and print their addresses."""

from __future__ import annotations

from pathlib import Path

import click

from manor.cli.terminal.options import dry_run_option, environment_option, estate_argument, json_option, wait_option
from manor.cli.terminal.printing import print_result, printer
from manor.cli.terminal.running import carrying_out, run, run_changing


@click.command("up")
@estate_argument
@environment_option
@click.option("--allow-destroy", is_flag=True, help="Also remove what is no longer declared.")
@click.option("--no-controller", is_flag=True, envvar="MANOR_NO_CONTROLLER", help="Do not start `manor serve` beside it.")
@wait_option
@dry_run_option
@json_option
def command(
    estate: Path | None, environments: tuple[str, ...], allow_destroy: bool, no_controller: bool, wait_seconds: float, dry_run: bool, as_json: bool
) -> None:
    """Bring environments up: every host as declared, every tier answering; and the controller, which goes on in the background.

    Does nothing, and says so, where all is as declared. The first time an admin token is shown, once.
    """
    from manor.cli.terminal.plans import foreseen_printer
    from manor.workflows.context import open_context
    from manor.workflows.controlling import start_controller
    from manor.workflows.down import finish_downs
    from manor.workflows.foreseeing import foresee_up
    from manor.workflows.up import bring_up, ways_in

    with open_context(estate, dry_run=dry_run) as context:
        names = environments or tuple(context.estate.environments)
        for name in names:
            context.environment(name)
        if dry_run:
            run(lambda stop: foresee_up(context, names, foreseen_printer(as_json=as_json), allow_destroy=allow_destroy, with_controller=not no_controller))
            return
        tell = printer(as_json=as_json)
        run_changing(context, lambda stop: finish_downs(context, names, carrying_out(stop, tell, wait_seconds)))
        results = run_changing(context, lambda stop: bring_up(context, names, carrying_out(stop, tell, wait_seconds), allow_destroy=allow_destroy))
        for name, result in results.items():
            ways = ways_in(context, name)
            word = "nothing to do; all is as declared" if result is None else "up"
            lines = [f"{name}: {word}", *(f"  {way.service:<20} {way.url}\n  {'':<20} {way.curl}" for way in ways)]
            found = {"environment": name, "changed": result is not None, "urls": {way.service: way.url for way in ways}}
            print_result(found, as_json=as_json, text="\n".join(lines))
        if not no_controller:
            controller, token = run(lambda stop: start_controller(context))
            shown = {"controller": controller.url, **({"first_admin_token": token.value} if token else {})}
            words = [f"controller  {controller.url}", *([f"first admin token, shown this once: {token.value}"] if token else [])]
            print_result(shown, as_json=as_json, text="\n".join(words))
