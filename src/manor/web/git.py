"""Hosted repositories over git's smart HTTP protocol (docs/git.md).

Invariant: a body is streamed, never held; many exchanges at once are bounded, and so is each.
Invariant: after every push the ledger is compared with the refs, whatever became of its client or its hooks.
https://git-scm.com/docs/gitprotocol-http
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from manor.errors import CommandFailed
from manor.estate.units import NAME
from manor.execution.values import HostPath
from manor.integrations.repositories.base import GitRequest, Hosting, Pusher, Source
from manor.web.access import CheckToken, Grant, token_of
from manor.web.pushes import Delivery, Push, Pushes
from manor.web.relay import ClientGone, Patience, Relay

log = logging.getLogger(__name__)
SERVICES = {"git-upload-pack": "read", "git-receive-pack": "push"}
SLACK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class GitLimits:
    """How much at once, and how long."""

    fetches: int = 16
    pushes: int = 32
    """Until its refs have moved; a push that only follows its run counts no more."""
    watchers: int = 128
    """Pushes that follow their run; what is beyond is told where to look."""
    wait_seconds: float = 20.0
    """How long a request waits for its turn."""
    largest_body_bytes: int = 512 * 1024 * 1024
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True)
class GitPorts:
    """What the repositories need of the rest."""

    hosting: Hosting
    find: Callable[[str], Source | None]
    """The repository of that name, if it is hosted here."""
    check_token: CheckToken
    delivery: Delivery
    callback_base: str
    """Where hooks reach this server: `http://127.0.0.1:7000` or `unix:<socket>|`."""
    empty_folder: HostPath
    limits: GitLimits = field(default_factory=GitLimits)


class GitServer:
    """Answers git's clients."""

    def __init__(self, ports: GitPorts) -> None:
        """Serve the repositories that `ports` knows."""
        self._ports = ports
        self.pushes = Pushes(ports.delivery, ports.limits.watchers)
        self._turns = {"read": asyncio.Semaphore(ports.limits.fetches), "push": asyncio.Semaphore(ports.limits.pushes)}
        self._comparing: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        """Return the routes, the hooks' own first."""
        return [
            Route("/git/pushes/{push}", self.pushes.told, methods=["POST"]),
            Route("/git/{repository}.git/info/refs", self._info, methods=["GET"]),
            Route("/git/{repository}.git/{service:path}", self._rpc, methods=["POST"]),
        ]

    async def _info(self, request: Request) -> Response:
        service = request.query_params.get("service", "")
        return await self._judged(request, service, "info/refs", f"service={service}")

    async def _rpc(self, request: Request) -> Response:
        service = request.path_params["service"]
        if request.headers.get("content-type") != f"application/x-{service}-request":
            return PlainTextResponse("not a request of this protocol\n", 415)
        return await self._judged(request, service, service, "")

    async def _judged(self, request: Request, service: str, path: str, query: str) -> Response:
        if service not in SERVICES:
            return PlainTextResponse("only git's smart protocol is spoken here\n", 403)
        grant = await self._grant(request)
        if grant is None:
            return PlainTextResponse("a token is needed: any user name, the token as password\n", 401, {"WWW-Authenticate": 'Basic realm="Manor"'})
        if not grant.allows(SERVICES[service]):
            return PlainTextResponse(f"the token {grant.name!r} lacks the scope `{SERVICES[service]}`\n", 403)
        source = self._source(request)
        if source is None:
            return PlainTextResponse("there is no such repository; `manor repo list` shows those that exist\n", 404)
        if int(request.headers.get("content-length") or 0) > self._ports.limits.largest_body_bytes + SLACK_BYTES:
            return PlainTextResponse(f"too large: a push may have {self._ports.limits.largest_body_bytes} bytes\n", 413)
        return GitExchange(self, request, source, grant, (service, path, query))

    async def _grant(self, request: Request) -> Grant | None:
        token = token_of(request.headers.get("authorization", ""))
        return await self._ports.check_token(token) if token else None

    def _source(self, request: Request) -> Source | None:
        name = request.path_params["repository"]
        return self._ports.find(name) if NAME.fullmatch(name) else None

    async def carry(self, exchange: GitExchange, receive: Receive, send: Send) -> None:
        """Carry an exchange when its turn comes. A push ends with a comparison of the ledger."""
        if SERVICES[exchange.service] == "read" or exchange.path == "info/refs":
            async with self._turn(SERVICES[exchange.service]):
                await self._relay(exchange, Relay(receive, send, self._ports.limits.patience), "")
            return
        with self.pushes.one(exchange.source.name, exchange.grant.name) as push:
            try:
                async with self._turn("push") as push.end_turn:
                    await self._relay(exchange, Relay(receive, send, self._ports.limits.patience, push.gone.set), self._callback(push))
            finally:
                self._soon(self._ports.delivery.catch_up(push.repository, push.actor))

    async def _relay(self, exchange: GitExchange, relay: Relay, callback: str) -> None:
        pusher = Pusher(exchange.grant.name, exchange.grant.scopes)
        program = self._ports.hosting.backend(exchange.source, exchange.asked(callback, self._ports.empty_folder), pusher)
        with contextlib.suppress(ClientGone):
            await relay.carry(program)

    def _callback(self, push: Push) -> str:
        return f"{self._ports.callback_base}/git/pushes/{push.id}"

    @contextlib.asynccontextmanager
    async def _turn(self, kind: str) -> AsyncIterator[Callable[[], None]]:
        """Give what ends the turn early; it ends with the body at the latest. Raises NoTurn."""
        try:
            async with asyncio.timeout(self._ports.limits.wait_seconds):
                await self._turns[kind].acquire()
        except TimeoutError:
            raise NoTurn from None
        with contextlib.ExitStack() as turn:
            turn.callback(self._turns[kind].release)
            yield turn.close

    def _soon(self, comparison: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(comparison)
        self._comparing.add(task)
        task.add_done_callback(self._compared)

    def _compared(self, task: asyncio.Task[None]) -> None:
        self._comparing.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("the ledger could not be compared after a push; it is compared again within 10 s", exc_info=error)

    async def close(self) -> None:
        """Let go of pushers that only watch, and let comparisons under way finish."""
        self.pushes.let_go()
        await asyncio.gather(*self._comparing, return_exceptions=True)


class NoTurn(Exception):
    """Too many at once for too long."""


class GitExchange(Response):
    """The answer of git's backend, as a response."""

    def __init__(self, server: GitServer, request: Request, source: Source, grant: Grant, asked: tuple[str, str, str]) -> None:
        """Answer one judged request: service, path below the repository, query."""
        super().__init__()
        self.source = source
        self.grant = grant
        self.service, self.path, self._query = asked
        self._server = server
        self._request = request

    def asked(self, callback: str, empty_folder: HostPath) -> GitRequest:
        """Return the request as the backend gets it."""
        request = self._request
        client = request.client.host if request.client else ""
        return GitRequest(request.method, self.path, self._query, dict(request.headers), client, callback, empty_folder)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry the exchange; what fails before the first byte is an answer too."""
        try:
            await self._server.carry(self, receive, send)
        except NoTurn:
            await PlainTextResponse("too many at once; try again in a moment\n", 503, {"Retry-After": "10"})(scope, receive, send)
        except CommandFailed:
            log.exception("%s: git's backend failed", self.source.name)
            await PlainTextResponse("git's backend failed; the controller's log says why\n", 500)(scope, receive, send)
