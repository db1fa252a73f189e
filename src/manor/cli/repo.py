"""Hosted repositories, and tokens for git and the API."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from manor.cli.terminal.options import estate_option, json_option
from manor.cli.terminal.printing import print_result
from manor.cli.terminal.running import actor, run

if TYPE_CHECKING:
    from manor.state.tokens import TokenRow


@click.group("repo")
def command() -> None:
    """Repositories that `manor serve` hosts (docs/git.md)."""


@command.command("create")
@click.argument("name")
@estate_option
@json_option
def create_command(name: str, estate: Path | None, as_json: bool) -> None:
    """Make a repository, or bring an existing one to its rules. Those that services name are made by `manor serve` itself."""
    from manor.workflows.context import open_context
    from manor.workflows.hosting import create_repository

    with open_context(estate) as context:
        row = run(lambda stop: create_repository(context, name))
    print_result(dataclasses.asdict(row), as_json=as_json, text=f"{row.name}: there; {row.url or 'start the controller with `manor up` to push to it'}")


@command.command("list")
@estate_option
@json_option
def list_command(estate: Path | None, as_json: bool) -> None:
    """List repositories, where to clone them from, and where their branches stand."""
    from manor.workflows.context import open_context
    from manor.workflows.hosting import list_repositories

    with open_context(estate) as context:
        rows = run(lambda stop: list_repositories(context))
    lines = [f"{row.name:<20} {row.url or '-':<40} {', '.join(f'{branch} {commit[:12]}' for branch, commit in row.branches)}".rstrip() for row in rows]
    print_result({"repositories": [dataclasses.asdict(row) for row in rows]}, as_json=as_json, text="\n".join(lines) or "no repositories")


@command.command("token")
@click.argument("name", required=False)
@estate_option
@click.option("--scope", "scopes", multiple=True, type=click.Choice(["read", "push", "ship", "admin"]), help="What it may; more than once; default push.")
@click.option("--expires", default="", metavar="DURATION", help="E.g. 30d; default never.")
@click.option("--revoke", is_flag=True, help="End the token NAME now.")
@json_option
def token_command(name: str | None, estate: Path | None, scopes: tuple[str, ...], expires: str, revoke: bool, as_json: bool) -> None:
    """Make the token NAME and show it, once; or end it; without NAME, list tokens without their values."""
    from manor.workflows.context import open_context
    from manor.workflows.hosting import issue_token, list_tokens, revoke_token

    with open_context(estate) as context:
        if name is None:
            rows = run(lambda stop: list_tokens(context))
            print_result({"tokens": [shown(row) for row in rows]}, as_json=as_json, text="\n".join(map(token_line, rows)) or "no tokens")
        elif revoke:
            run(lambda stop: revoke_token(context, name, actor()))
            print_result({"token": name, "revoked": True}, as_json=as_json, text=f"{name}: ended")
        else:
            lifetime = duration(expires) if expires else None
            token = run(lambda stop: issue_token(context, name, scopes or ("push",), actor(), lifetime))
            print_result(
                {"token": name, "value": token.value}, as_json=as_json, text=f"{name}: {token.value}\nshown this once; git asks for it as the password"
            )


def duration(text: str) -> float:
    """Return a lifetime in seconds. Raises click.BadParameter."""
    from manor.estate.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--expires") from error


def shown(row: TokenRow) -> dict[str, object]:
    """Return a token's row without its digest."""
    return {key: value for key, value in vars(row).items() if key != "digest"}


def token_line(row: TokenRow) -> str:
    """Return a token's line."""
    end = "revoked" if row.revoked_at else f"until {day(row.expires_at)}" if row.expires_at else "for ever"
    return f"{row.name:<20} {row.scopes:<24} {end:<18} used {day(row.used_at) if row.used_at else 'never'}"


def day(moment: float) -> str:
    """Return a day."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%d")
