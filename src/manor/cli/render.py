"""Write the native files of an environment into a folder."""

from __future__ import annotations

from pathlib import Path

import click

from manor.cli.terminal.options import environment_option, estate_argument, json_option
from manor.cli.terminal.printing import print_result


@click.command("render")
@estate_argument
@environment_option
@click.option("--host", default="", help="Only this host.")
@click.option("--to", "folder", type=click.Path(path_type=Path, file_okay=False), default=Path("rendered"), show_default=True, help="The folder.")
@json_option
def command(estate: Path | None, environments: tuple[str, ...], host: str, folder: Path, as_json: bool) -> None:
    """Write what each tool would get, without keys and certificates. The same estate gives the same bytes; no host is touched."""
    from manor.workflows.context import open_context
    from manor.workflows.rendering import render_into

    with open_context(estate, dry_run=True) as context:
        names = environments or tuple(context.estate.environments)
        for one in render_into(context, names, host, folder):
            found = {"environment": one.environment, "host": one.host, "folder": str(one.folder), "files": list(one.files), "left_out": list(one.left_out)}
            lines = [f"{one.environment}/{one.host}: {len(one.files)} files in {one.folder}", *(f"  {name}" for name in one.files)]
            print_result(found, as_json=as_json, text="\n".join(lines))
