"""Repositories and tokens as a person at the controller handles them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from manor.errors import UsageError
from manor.execution.values import Secret
from manor.state import runs, tokens
from manor.state.tokens import TokenRow
from manor.workflows.context import Context
from manor.workflows.serving import Controller

SCOPES = ("read", "push", "ship", "admin")


@dataclass(frozen=True)
class RepositoryRow:
    """A hosted repository."""

    name: str
    url: str
    """Where to clone from; empty until a controller has run."""
    branches: tuple[tuple[str, str], ...]
    """Branch and commit, as the ledger has seen them."""


async def create_repository(context: Context, name: str) -> RepositoryRow:
    """Make a hosted repository, or bring it to its rules again. Raises UsageError for what is no name."""
    await Controller(context).repositories.create(name)
    return await describe(context, name)


async def list_repositories(context: Context) -> list[RepositoryRow]:
    """Return the hosted repositories by name."""
    return [await describe(context, name) for name in Controller(context).repositories.names()]


async def describe(context: Context, name: str) -> RepositoryRow:
    """Return one repository."""
    rows = await context.store.read(runs.ledger, name)
    controller = Controller(context)
    base = last_url(context)
    url = controller.hosting.url(controller.repositories.source(name), base) if base else ""
    return RepositoryRow(name, url, tuple((row.ref.removeprefix("refs/heads/"), row.commit) for row in rows))


def last_url(context: Context) -> str:
    """Return where the controller listens, or listened last; empty: it never ran."""
    file = context.folder / "controller.last.json"
    return str(json.loads(file.read_text())["url"]) if file.exists() else ""


async def issue_token(context: Context, name: str, scopes: Iterable[str], actor: str, lifetime_seconds: float | None) -> Secret:
    """Make a token and return it, for the only time. Raises UsageError for an unknown scope or a name that stands."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown:
        raise UsageError(f"there is no scope {', '.join(unknown)}; there are: {', '.join(SCOPES)}")
    now = context.store.clock.now()
    expires = None if lifetime_seconds is None else now + lifetime_seconds
    return await context.store.write(tokens.issue, name, scopes, actor, at=now, expires_at=expires)


async def revoke_token(context: Context, name: str, actor: str) -> None:
    """End a token now. Raises UsageError if there is none of that name."""
    await context.store.write(tokens.revoke, name, actor, at=context.store.clock.now())


async def list_tokens(context: Context) -> tuple[TokenRow, ...]:
    """Return every token without its value."""
    return await context.store.read(tokens.all_tokens)
