"""Show what differs between the estate and what is there."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from manor.cli.terminal.options import environment_option, estate_argument, json_option
from manor.cli.terminal.printing import print_result
from manor.cli.terminal.running import run


@click.command("plan")
@estate_argument
@environment_option
@click.option("--diff/--no-diff", "with_diff", default=True, help="Show each file's lines.")
@json_option
def command(estate: Path | None, environments: tuple[str, ...], with_diff: bool, as_json: bool) -> None:
    """Show what `manor apply` would do, with the plan's hash. Exit code 1: there is something to do."""
    from manor.cli.terminal.plans import plan_lines, plan_object
    from manor.workflows.applying import plan_site
    from manor.workflows.context import open_context

    is_empty = True
    with open_context(estate) as context:
        for name in environments or tuple(context.estate.environments):
            plan = run(lambda stop, name=name: plan_site(context, name)).plan  # type: ignore[misc]
            is_empty = is_empty and plan.is_empty
            print_result(plan_object(plan), as_json=as_json, text="\n".join(plan_lines(plan, with_diff=with_diff)))
    sys.exit(0 if is_empty else 1)
