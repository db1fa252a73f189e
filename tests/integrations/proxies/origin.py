"""A service for the tests of tiers, run in a thread: answers what its path says, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

import uvicorn

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Origin:
    """Answers `/…?status=…&header=Name:value&wait=seconds` with JSON; `/events` streams; WebSockets echo.

    A request without a stamp is answered 404, as an inner tier would.
    """

    def __init__(self, slot: str = "a", needs_stamp: bool = True) -> None:
        self.slot = slot
        self.needs_stamp = needs_stamp
        self.is_failing = False
        self.count = 0
        self.requests: list[dict[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await echo(receive, send)
        elif scope["type"] == "http":
            await self.answer(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = await body_size(receive)
        headers = [(name.decode(), value.decode()) for name, value in scope["headers"]]
        stamp = dict(headers).get("x-manor-service", "")
        if self.needs_stamp and not stamp:
            await respond(send, 404, [], b"no stamp\n")
            return
        query = parse_qs(scope["query_string"].decode())
        if scope["path"] == "/events":
            await events(send, float(query.get("seconds", ["3"])[0]))
            return
        self.count += 1
        self.requests.append({"method": scope["method"], "path": scope["path"], "headers": headers, "body": size})
        await asyncio.sleep(float(query.get("wait", ["0"])[0]))
        status = 500 if self.is_failing else int(query.get("status", ["200"])[0])
        extra = [tuple(one.split(":", 1)) for one in query.get("header", [])]
        seen = {"method": scope["method"], "path": scope["path"], "headers": headers, "body": size, "count": self.count, "slot": self.slot, "service": stamp}
        await respond(send, status, [("x-manor-slot", self.slot), *extra], json.dumps(seen).encode())


async def body_size(receive: Receive) -> int:
    size, is_more = 0, True
    while is_more:
        message = await receive()
        size += len(message.get("body", b""))
        is_more = message.get("more_body", False)
    return size


async def respond(send: Send, status: int, headers: list[Any], body: bytes) -> None:
    raw = [(name.encode(), value.encode()) for name, value in [("content-length", str(len(body))), ("content-type", "application/json"), *headers]]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if status == 204 else body})


async def events(send: Send, seconds: float) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await send({"type": "http.response.body", "body": f"data: {time.time()}\n\n".encode(), "more_body": True})
        await asyncio.sleep(0.25)
    await send({"type": "http.response.body", "body": b"data: end\n\n"})


async def echo(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif message["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": f"echo {message.get('text')}"})
        else:
            return


@contextmanager
def running(origin: Origin, address: str, port: int, keep_alive: int = 30) -> Iterator[Origin]:
    """Serve in a thread until the block ends."""
    server = uvicorn.Server(uvicorn.Config(origin, address, port, log_level="error", access_log=False, timeout_keep_alive=keep_alive, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        end = time.monotonic() + 10
        while not server.started:
            if time.monotonic() > end or not thread.is_alive():
                raise RuntimeError(f"the origin did not start on {address}:{port}")
            time.sleep(0.01)
        yield origin
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(10)
