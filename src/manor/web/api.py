"""The JSON API under `/api/v1/` (docs/api.md).

Invariant: thin: a token is checked, a function is called, its value goes out. A function that is not given has no route.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from manor import __version__
from manor.errors import UsageError
from manor.estate.units import NAME
from manor.web.access import CheckToken, Grant, token_of
from manor.web.pushes import until
from manor.web.uploads import Upload, received
from manor.web.views import DeliveryView, OperationView, ReceiptView, RunView, StatusPage

Found = TypeVar("Found")
MOST_ROWS = 500


@dataclass(frozen=True)
class Handed:
    """An artifact that somebody handed in."""

    service: str
    upload: Upload
    commit: str
    build_url: str
    to: str
    """Ship no further than this environment; empty: as far as the gates let it."""
    actor: str
    again: str = ""
    """Why a release that failed before is delivered once more."""


@dataclass(frozen=True)
class ApiPorts:
    """The functions behind the API; None: there is no such route."""

    status: Callable[[], Awaitable[StatusPage]] | None = None
    runs: Callable[[str, int], Awaitable[Sequence[RunView]]] | None = None
    """Repository or empty for all, most rows; newest first."""
    run: Callable[[str], Awaitable[RunView | None]] | None = None
    run_log: Callable[[str], AsyncGenerator[str, None]] | None = None
    """The run's log, line by line, until it ends."""
    operations: Callable[[int], Awaitable[Sequence[OperationView]]] | None = None
    operation: Callable[[str], Awaitable[OperationView | None]] | None = None
    operation_events: Callable[[str], AsyncGenerator[str, None]] | None = None
    """Its events as JSON, one a line, until it ends."""
    receipts: Callable[[int], Awaitable[Sequence[ReceiptView]]] | None = None
    receipt: Callable[[str], Awaitable[ReceiptView | None]] | None = None
    ship: Callable[[Handed], Awaitable[OperationView | DeliveryView]] | None = None
    delivery: Callable[[str], Awaitable[DeliveryView]] | None = None
    incoming: Path | None = None
    """Where artifacts are received; on the same file system as where they are kept."""
    largest_artifact_bytes: int = 4 * 1024**3


class Api:
    """The API's endpoints."""

    def __init__(self, ports: ApiPorts, check_token: CheckToken, stopping: asyncio.Event) -> None:
        """Answer from `ports`; streams end when `stopping` is set."""
        self._ports = ports
        self._check_token = check_token
        self._stopping = stopping

    def routes(self) -> list[Route]:
        """Return a route for each function that there is."""
        ports = self._ports
        known: list[tuple[object, str, Callable[[Request], Awaitable[Response]], str]] = [
            (True, "/health", self._health, "GET"),
            (ports.status, "/status", self._status, "GET"),
            (ports.runs, "/runs", self._runs, "GET"),
            (ports.run, "/runs/{id}", self._run, "GET"),
            (ports.run_log, "/runs/{id}/log", self._run_log, "GET"),
            (ports.operations, "/operations", self._operations, "GET"),
            (ports.operation, "/operations/{id}", self._operation, "GET"),
            (ports.operation_events, "/operations/{id}/events", self._operation_events, "GET"),
            (ports.delivery, "/deliveries/{id}", self._delivery, "GET"),
            (ports.receipts, "/receipts", self._receipts, "GET"),
            (ports.receipt, "/receipts/{id}", self._receipt, "GET"),
            (ports.ship and ports.incoming, "/services/{service}/artifacts", self._ship, "POST"),
        ]
        return [Route(f"/api/v1{path}", endpoint, methods=[method]) for port, path, endpoint, method in known if port]

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"status": "stopping" if self._stopping.is_set() else "ok", "version": __version__})

    async def _status(self, request: Request) -> Response:
        await self._granted(request, "read")
        return as_json(await given(self._ports.status)())

    async def _runs(self, request: Request) -> Response:
        await self._granted(request, "read")
        return as_list("runs", await given(self._ports.runs)(request.query_params.get("repository", ""), rows(request)))

    async def _run(self, request: Request) -> Response:
        await self._granted(request, "read")
        return as_json(await found(given(self._ports.run)(request.path_params["id"]), "run"))

    async def _run_log(self, request: Request) -> Response:
        await self._granted(request, "read")
        await found(given(self._ports.run)(request.path_params["id"]), "run")
        return self._stream(request, given(self._ports.run_log)(request.path_params["id"]))

    async def _operations(self, request: Request) -> Response:
        await self._granted(request, "read")
        return as_list("operations", await given(self._ports.operations)(rows(request)))

    async def _operation(self, request: Request) -> Response:
        await self._granted(request, "read")
        return as_json(await found(given(self._ports.operation)(request.path_params["id"]), "operation"))

    async def _operation_events(self, request: Request) -> Response:
        await self._granted(request, "read")
        await found(given(self._ports.operation)(request.path_params["id"]), "operation")
        return self._stream(request, given(self._ports.operation_events)(request.path_params["id"]))

    async def _delivery(self, request: Request) -> Response:
        await self._granted(request, "read")
        return as_json(await found(given(self._ports.delivery)(request.path_params["id"]), "delivery"))

    async def _receipts(self, request: Request) -> Response:
        await self._granted(request, "read")
        return as_list("receipts", await given(self._ports.receipts)(rows(request)))

    async def _receipt(self, request: Request) -> Response:
        await self._granted(request, "read")
        return as_json(await found(given(self._ports.receipt)(request.path_params["id"]), "receipt"))

    async def _ship(self, request: Request) -> Response:
        grant = await self._granted(request, "ship")
        service, query = request.path_params["service"], request.query_params
        if not NAME.fullmatch(service):
            raise HTTPException(404, "there is no such service")
        async with received(request, given(self._ports.incoming), self._ports.largest_artifact_bytes) as upload:
            handed = Handed(service, upload, query.get("commit", ""), query.get("build_url", ""), query.get("to", ""), grant.name, query.get("again", ""))
            begun = await given(self._ports.ship)(handed)
        kind = "deliveries" if isinstance(begun, DeliveryView) else "operations"
        return as_json(begun, status=202, location=f"/api/v1/{kind}/{begun.id}")

    async def _granted(self, request: Request, scope: str) -> Grant:
        token = token_of(request.headers.get("authorization", ""))
        grant = await self._check_token(token) if token else None
        if grant is None:
            raise HTTPException(401, "a valid token is needed")
        if not grant.allows(scope):
            raise HTTPException(403, f"the token {grant.name!r} lacks the scope `{scope}`")
        return grant

    def _stream(self, request: Request, lines: AsyncGenerator[str, None]) -> Response:
        """Stream lines as plain text, or as server-sent events to whoever asks for those."""
        following = until(self._stopping, lines)
        if "text/event-stream" in request.headers.get("accept", ""):
            return StreamingResponse(as_events(following), media_type="text/event-stream")
        return StreamingResponse(following, media_type="text/plain; charset=utf-8")


async def as_events(lines: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """Yield each line as a server-sent event, an empty one as a comment, and `event: end` at the end."""
    async for line in lines:
        yield f"data: {line.rstrip()}\n\n" if line.strip() else ": still here\n\n"
    yield "event: end\ndata:\n\n"


def as_json(view: BaseModel, status: int = 200, location: str = "") -> Response:
    """Return a value as JSON."""
    headers = {"Location": location} if location else None
    return Response(view.model_dump_json(), status, headers, "application/json")


def as_list(name: str, views: Iterable[BaseModel]) -> Response:
    """Return values as JSON under one key, so that more can stand beside it later."""
    return JSONResponse({name: [view.model_dump(mode="json") for view in views]})


def rows(request: Request) -> int:
    """Return how many rows were asked for: 50 unless `limit` says otherwise, at most 500."""
    text = request.query_params.get("limit", "50")
    if not text.isascii() or not text.isdigit():
        raise HTTPException(400, f"limit: {text!r} is not a number")
    return min(int(text[:9]), MOST_ROWS)


async def found(looking: Awaitable[Found | None], what: str) -> Found:
    """Return what was looked for, or answer that there is none: None, or the UsageError that names it."""
    try:
        value = await looking
    except UsageError as error:
        raise HTTPException(404, str(error)) from None
    if value is None:
        raise HTTPException(404, f"there is no such {what}")
    return value


def given(port: Found | None) -> Found:
    """Return a port that has a route and so is there."""
    if port is None:
        raise RuntimeError("a route without its function")
    return port
