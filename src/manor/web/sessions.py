"""Log-ins of people: a token once, then a cookie (docs/api.md).

Invariant: the cookie is the token, encrypted under a key of this state folder; a revoked or expired token ends its sessions at once.
Invariant: nothing is kept in memory, so a restart logs nobody off.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from starlette.requests import Request
from starlette.responses import Response

from manor.execution.durable import write_durably
from manor.execution.values import Secret

COOKIE = "manor_session"
IDLE_SECONDS = 8 * 3600


class Sessions:
    """Makes and reads the cookie."""

    def __init__(self, key: Secret) -> None:
        """Use a key from `session_key`."""
        self._key = key.value.encode()
        self._box = Fernet(self._key)

    def open(self, response: Response, request: Request, token: Secret) -> None:
        """Set the cookie; each request that uses it starts its 8 idle hours anew."""
        value = self._box.encrypt(token.value.encode()).decode()
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, value, max_age=IDLE_SECONDS, httponly=True, samesite="strict", secure=secure, path="/")

    def close(self, response: Response) -> None:
        """Forget the cookie."""
        response.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")

    def token(self, request: Request) -> Secret | None:
        """Return the session's token, or None if there is none, or it is forged or idle for too long."""
        try:
            return Secret(self._box.decrypt(request.cookies.get(COOKIE, "").encode(), ttl=IDLE_SECONDS).decode())
        except InvalidToken:
            return None

    def form_key(self, token: Secret) -> str:
        """Return what a form must send back; only pages of this session know it."""
        return hmac.new(self._key, b"form:" + token.value.encode(), hashlib.sha256).hexdigest()

    def is_own_form(self, token: Secret, sent: str) -> bool:
        """Tell whether a form came from a page of this session, in constant time."""
        return hmac.compare_digest(self.form_key(token).encode(), sent.encode())


def session_key(file: Path) -> Secret:
    """Return the key in `file`, made there (0600) the first time."""
    if not file.exists():
        write_durably(file, Fernet.generate_key(), 0o600)
    return Secret(file.read_text())
