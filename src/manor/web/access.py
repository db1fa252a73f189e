"""Who is asking: tokens from a request's headers, and what they allow (docs/api.md).

Invariant: a token is compared by its SHA-256 only, in the store; here it is a `Secret` that prints as `***`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from manor.execution.values import Secret


@dataclass(frozen=True)
class Grant:
    """A valid token's name and scopes."""

    name: str
    scopes: frozenset[str]

    def allows(self, scope: str) -> bool:
        """Tell whether the scope is granted: by itself, by `admin`, or reading by any other."""
        return scope in self.scopes or "admin" in self.scopes or (scope == "read" and bool(self.scopes))


CheckToken: TypeAlias = Callable[[Secret], Awaitable[Grant | None]]
"""Returns the grant of a token that is known, not expired and not revoked."""


def token_of(authorization: str) -> Secret | None:
    """Return the token of an `Authorization` header: `Bearer <token>`, or Basic with any user and the token as password."""
    scheme, _, value = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return Secret(value.strip()) if value.strip() else None
        case "basic":
            return _password(value.strip())
        case _:
            return None


def _password(value: str) -> Secret | None:
    try:
        _, separator, password = base64.b64decode(value, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return Secret(password) if separator and password else None
