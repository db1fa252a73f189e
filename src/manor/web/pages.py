"""The status page and the log-in (docs/api.md).

Invariant: made on the server from one typed value; works without scripts, on a phone, with a keyboard, and loads nothing from elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from manor.execution.values import Secret
from manor.web.access import CheckToken
from manor.web.sessions import Sessions
from manor.web.views import StatusPage, slot_tone, slot_words, tone

FOLDER = Path(__file__).parent / "templates"
STATIC = {"style.css": "text/css; charset=utf-8", "live.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml"}
LONGEST_FORM_BYTES = 4096


class Pages:
    """The pages for people."""

    def __init__(self, status: Callable[[], Awaitable[StatusPage]], check_token: CheckToken, sessions: Sessions) -> None:
        """Show what `status` returns to whoever has logged in with a token."""
        self._status = status
        self._check_token = check_token
        self._sessions = sessions
        self._templates = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        self._templates.filters |= {"clock": clock, "ago": ago, "took": took, "tone": tone, "branch": branch, "slot_tone": slot_tone, "slot_words": slot_words}
        self._templates.globals["version"] = digest_of_static()

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/", self._page, methods=["GET"]),
            Route("/login", self._login_page, methods=["GET"]),
            Route("/login", self._login, methods=["POST"]),
            Route("/logout", self._logout, methods=["POST"]),
            Route("/static/{file}", self._static, methods=["GET"]),
        ]

    async def _page(self, request: Request) -> Response:
        token = self._sessions.token(request)
        grant = await self._check_token(token) if token else None
        if token is None or grant is None or not grant.allows("read"):
            return RedirectResponse("/login", 303)
        answer = self._render("status.html", page=await self._status(), who=grant.name, form_key=self._sessions.form_key(token))
        self._sessions.open(answer, request, token)
        return answer

    async def _login_page(self, _request: Request) -> Response:
        return self._render("login.html", error="")

    async def _login(self, request: Request) -> Response:
        token = Secret((await form(request)).get("token", "").strip())
        grant = await self._check_token(token)
        if grant is None or not grant.allows("read"):
            return self._render("login.html", 401, error="This token is not known, has expired, or was revoked.")
        answer = RedirectResponse("/", 303)
        self._sessions.open(answer, request, token)
        return answer

    async def _logout(self, request: Request) -> Response:
        token = self._sessions.token(request)
        if token is None or not self._sessions.is_own_form(token, (await form(request)).get("form_key", "")):
            return HTMLResponse("<p>This form has expired. <a href='/'>Back</a></p>", 403)
        answer = RedirectResponse("/login", 303)
        self._sessions.close(answer)
        return answer

    async def _static(self, request: Request) -> Response:
        name = request.path_params["file"]
        if name not in STATIC:
            return Response("not found\n", 404, media_type="text/plain")
        headers = {"Cache-Control": "private, max-age=31536000, immutable"}
        return Response((FOLDER / name).read_bytes(), headers=headers, media_type=STATIC[name])

    def _render(self, template: str, status: int = 200, **values: object) -> HTMLResponse:
        return HTMLResponse(self._templates.get_template(template).render(**values), status)


async def form(request: Request) -> dict[str, str]:
    """Return the fields of a short urlencoded form, the first value of each."""
    body = b""
    async for chunk in request.stream():
        body = (body + chunk)[:LONGEST_FORM_BYTES]
    return {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def digest_of_static() -> str:
    """Return what changes when a static file does; part of its address."""
    return hashlib.sha256(b"".join((FOLDER / name).read_bytes() for name in STATIC)).hexdigest()[:12]


def clock(at: float | None) -> str:
    """Return a time of day in UTC for the eye, or a dash."""
    return "–" if at is None else f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"


def ago(at: float | None, now: float) -> str:
    """Return how long ago, in the largest unit that says something."""
    seconds = max(0.0, now - at) if at is not None else 0.0
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {word} ago"
    return "–" if at is None else f"{int(seconds)} s ago"


def took(row: object, now: float) -> str:
    """Return how long something ran, or has been running."""
    started, ended = getattr(row, "started_at", None), getattr(row, "ended_at", None)
    if started is None:
        return "–"
    seconds = (now if ended is None else ended) - started
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def branch(ref: str) -> str:
    """Return a ref's short name."""
    return ref.removeprefix("refs/heads/")
