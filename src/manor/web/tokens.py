"""Tokens in the store, as the web needs them.

Invariant: what is known of a token is its name and scopes; the token itself is compared and forgotten.
"""

from __future__ import annotations

from manor.execution.values import Secret
from manor.state import tokens
from manor.state.store import Store
from manor.web.access import CheckToken, Grant

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
