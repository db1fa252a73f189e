"""The command line: finds the verbs by their files and imports only the one that is asked for.

Invariant: the only place that prints errors and turns them into exit codes (docs/exit-codes.md).
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import click

from manor import __version__
from manor.errors import InvalidEstate, ManorError

VERBS = Path(__file__).parent


class Verbs(click.Group):
    """One verb a file in this folder."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs, sorted."""
        return sorted(path.stem.rstrip("_") for path in VERBS.glob("*.py") if path.stem not in {"__init__", "main"})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a verb's command, imported now."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"manor.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs from their files' first lines, without importing them."""
        rows = [(name, summary(name)) for name in self.list_commands(ctx)]
        with formatter.section("Verbs"):
            formatter.write_dl(rows)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run; a ManorError ends in one clear message and its exit code."""
        try:
            return super().main(*args, standalone_mode=standalone_mode, **extra)  # type: ignore[call-overload]  # click's overloads name each parameter
        except ManorError as error:
            if not standalone_mode:
                raise
            print_error(error)
            sys.exit(error.exit_code)


def summary(name: str) -> str:
    """Return the first sentence of a verb's module."""
    first = (VERBS / f"{name}.py").read_text(encoding="utf-8").split("\n", 1)[0]
    return first.strip('" ').rstrip(".")


def print_error(error: ManorError) -> None:
    """Print an error on standard error; as JSON where that was asked for."""
    if "--json" in sys.argv:
        problems = list(error.problems) if isinstance(error, InvalidEstate) else [str(error)]
        click.echo(json.dumps({"error": type(error).__name__, "exit_code": error.exit_code, "problems": problems}), err=True)
        return
    lines = error.problems if isinstance(error, InvalidEstate) else (str(error),)
    for line in lines:
        click.echo(f"{click.style('error', fg='red', bold=True)}: {line}", err=True)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="manor")
def main() -> None:
    """Run a business's servers from one file."""
