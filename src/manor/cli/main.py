"""The command line: finds the verbs by their files and imports only the one that is asked for.

Invariant: the only place that prints errors and turns them into exit codes (docs/exit-codes.md).
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from manor import __version__
from manor.cli.terminal.usage import usage_text
from manor.errors import InvalidEstate, ManorError

VERBS = Path(__file__).parent
INTERRUPTED = 130


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

    def main(self, args: Sequence[str] | None = None, *more: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run; an error ends in one clear message, or with --json one object, and its exit code."""
        words = sys.argv[1:] if args is None else list(args)
        try:
            code = super().main(words, *more, standalone_mode=False, **extra)  # type: ignore[call-overload]  # click names each parameter
        except (ManorError, click.ClickException, click.Abort) as error:
            if not standalone_mode:
                raise
            sys.exit(print_error(error, as_json="--json" in words))
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else 0)
        return code


def summary(name: str) -> str:
    """Return the first sentence of a verb's module."""
    first = (VERBS / f"{name}.py").read_text(encoding="utf-8").split("\n", 1)[0]
    return first.strip('" ').rstrip(".")


def print_error(error: Exception, *, as_json: bool) -> int:
    """Print an error on standard error and return its exit code."""
    code = exit_code(error)
    if as_json:
        click.echo(json.dumps({"event": "error", "error": type(error).__name__, "exit_code": code, "problems": problems_of(error)}), err=True)
    elif isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
    else:
        for line in problems_of(error):
            click.echo(f"{click.style('error', fg='red', bold=True)}: {line}", err=True)
    return code


def exit_code(error: Exception) -> int:
    """Return the code that a script sees."""
    return error.exit_code if isinstance(error, (ManorError, click.ClickException)) else INTERRUPTED


def problems_of(error: Exception) -> list[str]:
    """Return what is wrong, one text a problem."""
    if isinstance(error, InvalidEstate):
        return list(error.problems)
    if isinstance(error, click.ClickException):
        return [usage_text(error)]
    return [str(error) or "interrupted"]


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="manor")
def main() -> None:
    """Run a business's servers from one file."""
