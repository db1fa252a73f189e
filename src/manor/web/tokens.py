"""Tokens in the store, as the web needs them.

Invariant: the first admin's token is shown once and never kept.
"""

from __future__ import annotations

from manor.execution.values import Secret
from manor.state import tokens
from manor.state.store import Connection, Store
from manor.web.access import CheckToken, Grant

SCOPES = ("read", "push", "ship", "admin")
FIRST_ADMIN = "first-admin"
USED_AGAIN_SECONDS = 60.0


def token_check(store: Store) -> CheckToken:
    """Return the check against the store: known, not expired, not revoked."""

    async def check(token: Secret) -> Grant | None:
        now = store.clock.now()
        row = await store.read(lambda connection: tokens.check(connection, token.value, now=now))
        if row is None:
            return None
        if row.used_at is None or now - row.used_at > USED_AGAIN_SECONDS:
            await store.write(lambda connection: tokens.mark_used(connection, row.name, at=now))
        return Grant(row.name, frozenset(row.scopes.split()))

    return check


def ensure_first_admin(store: Store) -> Secret | None:
    """Make a token with every right if there is no token at all yet, and return it for the only time; None otherwise."""
    return store.write_now(_first_admin, store.clock.now())


def _first_admin(connection: Connection, now: float) -> Secret | None:
    if tokens.all_tokens(connection):
        return None
    return tokens.issue(connection, FIRST_ADMIN, ["admin"], "manor serve", at=now)
