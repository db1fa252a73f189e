"""Make a new estate file."""

from __future__ import annotations

from pathlib import Path

import click

from manor.cli.terminal.options import json_option
from manor.cli.terminal.printing import print_result


@click.command("init")
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option("--name", default="", help="The estate's name; default: the folder's.")
@click.option("--service", default="web", show_default=True, help="The first service.")
@click.option("--command", "line", default="", help="What starts it, with {address} and {port}; default: Python's own file server.")
@click.option("--port", type=int, default=8300, show_default=True, help="Its port; the next one is reserved too.")
@click.option("--health", default="/", show_default=True, help="The path that answers 200 when it is well.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing.")
@json_option
def command(folder: Path, name: str, service: str, line: str, port: int, health: str, yes: bool, as_json: bool) -> None:
    """Write an `estate.yaml` that holds and runs as it stands, and keep the state folder out of git.

    Never overwrites anything.
    """
    from manor.workflows.init import DEFAULT_COMMAND, FirstEstate, make_estate, suggested_name

    ask = not yes and not as_json
    name = name or (click.prompt("Name of the estate", default=suggested_name(folder)) if ask else suggested_name(folder))
    line = line or (click.prompt(f"Command that starts {service}", default=DEFAULT_COMMAND) if ask else DEFAULT_COMMAND)
    made = make_estate(FirstEstate(name, service, line, port, health), folder)
    text = f"{made.file}: written{'; .gitignore has the state folder' if made.ignored else ''}\nnext: `manor doctor`, `manor check`, `manor up`"
    print_result({"file": str(made.file), "estate": name, "gitignore": made.ignored}, as_json=as_json, text=text)
