"""Say what is missing on this machine, with the command that mends it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from manor.cli.terminal.options import estate_argument, json_option
from manor.cli.terminal.printing import print_result
from manor.cli.terminal.running import run

if TYPE_CHECKING:
    from manor.estate.model import Estate
    from manor.workflows.doctor import Finding


@click.command("doctor")
@estate_argument
@json_option
def command(estate: Path | None, as_json: bool) -> None:
    """Look at programs, limits, ports, addresses, rights, room and left-over processes. Changes nothing.

    Works without an estate too. Exit code 1: something is missing.
    """
    from manor.workflows.context import find_estate, open_context, state_folder
    from manor.workflows.doctor import examine

    file = find_estate(estate) if estate or Path("estate.yaml").exists() else None
    folder = state_folder(file) if file else None
    with ExitStack() as opened:
        context = opened.enter_context(open_context(file)) if file and folder and folder.exists() else None
        declared = context.estate if context else load_declared(file)
        findings = run(lambda stop: examine(declared, folder, context))
    for finding in findings if as_json else ():
        print_result(vars(finding), as_json=True, text="")
    if not as_json:
        click.echo("\n".join(finding_lines(findings)))
    sys.exit(0 if all(finding.is_well for finding in findings) else 1)


def load_declared(file: Path | None) -> Estate | None:
    """Return the estate of a file, if there is one."""
    from manor.estate.load import load_estate

    return load_estate(file) if file else None


def finding_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield a line for each thing, and one more with the command for what is missing."""
    for finding in findings:
        mark = click.style("ok  ", fg="green") if finding.is_well else click.style("miss", fg="red")
        yield f"{mark}  {finding.what:<18} {finding.detail}"
        if finding.mend:
            yield f"      {'':<18} {click.style(finding.mend, bold=True)}"
    missing = sum(not finding.is_well for finding in findings)
    yield "nothing is missing" if not missing else f"{missing} to mend"
