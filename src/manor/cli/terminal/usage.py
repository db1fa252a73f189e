"""Says what is wrong with a command line as every other error is said: what is wrong, and what to do.

Invariant: pure; goes by the class of click's error, never by its words.
"""

from __future__ import annotations

import click
from click.exceptions import NoSuchCommand


def usage_text(error: click.ClickException) -> str:
    """Return the one line of a wrong call."""
    wrong, to_do = wrong_usage(error), ""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        to_do = nearest(error, error.ctx) or f"`{error.ctx.command_path} --help` explains the call"
    return "; ".join(part for part in (wrong, to_do if ";" not in wrong else "") if part)


def wrong_usage(error: click.ClickException) -> str:
    """Return what is wrong."""
    if isinstance(error, NoSuchCommand):
        return f"there is no verb {error.command_name!r}"
    if isinstance(error, click.NoSuchOption):
        return f"there is no option {error.option_name}"
    message = error.format_message().rstrip(".")
    return message[:1].lower() + message[1:]


def nearest(error: click.UsageError, context: click.Context) -> str:
    """Return what was probably meant, or what there is; empty where that can't be told."""
    from manor.estate.problems import suggestion

    if isinstance(error, NoSuchCommand) and isinstance(context.command, click.Group):
        return suggestion(error.command_name, context.command.list_commands(context))
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        return f"did you mean `{error.possibilities[0]}`?"
    return ""
