"""Tokens of people and machines for git and the API.

Invariant: the store knows a token's sha256 only; the token itself is returned once, by `issue`.
A token is 256 random bits, so a fast hash is enough: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from manor.errors import UsageError
from manor.execution.values import Secret
from manor.state import audit, rows, tables

FIRST_ADMIN = "first-admin"


@dataclass(frozen=True)
class TokenRow:
    """A token as the store knows it; `scopes` are separated by spaces."""

    name: str
    digest: str
    scopes: str
    created_by: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    used_at: float | None

    def allows(self, scope: str) -> bool:
        """Tell whether the token has a scope; `admin` has all."""
        return bool({scope, "admin"} & set(self.scopes.split()))


def issue(connection: sa.Connection, name: str, scopes: Iterable[str], created_by: str, *, at: float, expires_at: float | None = None) -> Secret:
    """Make a token and return it, for the only time. Raises UsageError if one of that name stands."""
    there = get(connection, name)
    if there and there.revoked_at is None:
        raise UsageError(f"there is a token {name!r} already; revoke it first")
    connection.execute(tables.tokens.delete().where(tables.tokens.c.name == name))
    token = f"manor_{secrets.token_urlsafe(32)}"
    row = TokenRow(name, digest_of(token), " ".join(sorted(set(scopes))), created_by, at, expires_at, None, None)
    connection.execute(tables.tokens.insert().values(**vars(row)))
    audit.record(connection, created_by, "token issue", name, at=at, after=row.scopes)
    return Secret(token)


def first_admin(connection: sa.Connection, created_by: str, *, at: float) -> Secret | None:
    """Make a token with every right if there is no token at all yet, and return it for the only time; None otherwise."""
    return None if all_tokens(connection) else issue(connection, FIRST_ADMIN, ["admin"], created_by, at=at)


def check(connection: sa.Connection, token: str, *, now: float) -> TokenRow | None:
    """Return the token's row if it stands: known, neither expired nor revoked."""
    row = rows.first_of(connection, sa.select(tables.tokens).where(tables.tokens.c.digest == digest_of(token)), TokenRow)
    stands = row and row.revoked_at is None and (row.expires_at is None or now < row.expires_at)
    return row if stands else None


def mark_used(connection: sa.Connection, name: str, *, at: float) -> None:
    """Write when a token was last used."""
    connection.execute(tables.tokens.update().where(tables.tokens.c.name == name).values(used_at=at))


def revoke(connection: sa.Connection, name: str, actor: str, *, at: float) -> None:
    """End a token now. Raises UsageError if there is none of that name."""
    if get(connection, name) is None:
        raise UsageError(f"there is no token {name!r}")
    connection.execute(tables.tokens.update().where(tables.tokens.c.name == name).values(revoked_at=at))
    audit.record(connection, actor, "token revoke", name, at=at)


def get(connection: sa.Connection, name: str) -> TokenRow | None:
    """Return a token's row by its name, or None."""
    return rows.first_of(connection, sa.select(tables.tokens).where(tables.tokens.c.name == name), TokenRow)


def all_tokens(connection: sa.Connection) -> tuple[TokenRow, ...]:
    """Return every token's row by name."""
    return rows.all_of(connection, sa.select(tables.tokens).order_by(tables.tokens.c.name), TokenRow)


def digest_of(token: str) -> str:
    """Return what the store keeps of a token."""
    return hashlib.sha256(token.encode()).hexdigest()
