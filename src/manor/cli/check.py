"""Validate the estate and have every tool check its own part."""

from __future__ import annotations

from pathlib import Path

import click

from manor.cli.terminal.options import environment_option, estate_argument, json_option
from manor.cli.terminal.printing import print_result
from manor.cli.terminal.running import run


@click.command("check")
@estate_argument
@environment_option
@click.option("--offline", is_flag=True, help="Only Manor's own rules and renderers; the tools' checkers are not started.")
@json_option
def command(estate: Path | None, environments: tuple[str, ...], offline: bool, as_json: bool) -> None:
    """Validate the estate; then render each tier and have its own program check the files.

    Changes nothing. Exit code 3: the estate is wrong. 4: a tool refused its part, in its own words.
    """
    from manor.workflows.check import check_offline, check_tools
    from manor.workflows.context import find_estate, open_context

    if offline:
        found = check_offline(find_estate(estate), environments)
        print_result({"estate": found.name, "digest": found.digest}, as_json=as_json, text=f"{found.name}: valid ({len(found.environments)} environments)")
        return
    with open_context(estate, dry_run=True) as context:
        names = environments or tuple(context.estate.environments)
        accepted = run(lambda stop: check_tools(context, names))
        for line in accepted:
            print_result(vars(line), as_json=as_json, text=f"{f'{line.environment}/{line.host}':<18} {line.tier:<22} {line.product} {line.version}: accepted")
