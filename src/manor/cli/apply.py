"""Bring hosts to what the estate declares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from manor.cli.terminal.options import dry_run_option, environment_option, estate_argument, json_option, wait_option
from manor.cli.terminal.printing import print_result, printer
from manor.cli.terminal.running import carrying_out, run, run_changing

if TYPE_CHECKING:
    from manor.operations.planning import Result


@click.command("apply")
@estate_argument
@environment_option
@click.option("--plan", "expected", default="", metavar="HASH", help="Only if this plan is still what would be done.")
@click.option("--allow-destroy", is_flag=True, help="Also remove what is no longer declared.")
@wait_option
@dry_run_option
@json_option
def command(estate: Path | None, environments: tuple[str, ...], expected: str, allow_destroy: bool, wait_seconds: float, dry_run: bool, as_json: bool) -> None:
    """Carry out what `manor plan` shows: written, checked, reloaded, verified, else put back.

    No tier is changed before every tool has accepted its part. Exit code 5: failed, and all is as before. 6: not all is.
    """
    from manor.cli.terminal.plans import foreseen_printer
    from manor.workflows.applying import require_plan_hash
    from manor.workflows.context import open_context
    from manor.workflows.foreseeing import foresee_apply
    from manor.workflows.left import apply_environment
    from manor.workflows.snapshots import keep_estate
    from manor.workflows.up import prefixed

    require_plan_hash(expected)
    with open_context(estate, dry_run=dry_run) as context:
        names = environments or tuple(context.estate.environments)
        if dry_run:
            run(lambda stop: foresee_apply(context, names, foreseen_printer(as_json=as_json), expected=expected, allow_destroy=allow_destroy))
            return
        keep_estate(context)
        for name in names:
            tell = prefixed(printer(as_json=as_json), name)
            plan, result = run_changing(
                context,
                lambda stop, name=name, tell=tell: apply_environment(  # type: ignore[misc]
                    context, name, carrying_out(stop, tell, wait_seconds), expected=expected, allow_destroy=allow_destroy
                ),
            )
            print_applied(name, plan.hash, result, as_json=as_json)


def print_applied(environment: str, plan_hash: str, result: Result | None, *, as_json: bool) -> None:
    """Print how an apply ended; None: there was nothing to do."""
    word = "nothing to do; all is as declared" if result is None else f"applied, operation {result.operation.id}"
    shown = {"environment": environment, "changed": result is not None, "plan": plan_hash, "hosts": {} if result is None else result.hosts}
    print_result(shown, as_json=as_json, text=f"{environment}: {word}")
