"""The web application: git, the JSON API and the pages, over what it is given.

Invariant: what is not given has no route; nothing here decides anything about the estate.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from manor.errors import ManorError
from manor.web import problems
from manor.web.access import CheckToken
from manor.web.api import Api, ApiPorts
from manor.web.git import GitServer
from manor.web.headers import SafeHeaders
from manor.web.pages import Pages
from manor.web.sessions import Sessions


@dataclass(frozen=True)
class WebPorts:
    """What the application is made of."""

    check_token: CheckToken
    sessions: Sessions
    api: ApiPorts
    git: GitServer | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server begins to stop: streams end."""


def make_app(ports: WebPorts) -> Starlette:
    """Return the application."""
    routes: list[BaseRoute] = [*Api(ports.api, ports.check_token, ports.stopping).routes()]
    if ports.git:
        routes += ports.git.routes()
    if ports.api.status:
        routes += Pages(ports.api.status, ports.check_token, ports.sessions).routes()
    handlers = {ManorError: problems.of_manor, HTTPException: problems.of_http, Exception: problems.of_anything}
    return Starlette(routes=routes, exception_handlers=handlers, middleware=[Middleware(SafeHeaders)])
