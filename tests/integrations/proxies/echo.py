"""A small ASGI service for real traffic: tells its slot and what reached it; events, sockets and uploads."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer; `MANOR_TEST_SLOT` says who."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await echo_socket(receive, send)
    elif scope["path"] == "/events":
        await events(send, int(dict(scope["headers"]).get(b"x-events", b"10")))
    else:
        await tell(scope, receive, send)


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def tell(scope: Scope, receive: Receive, send: Send) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    if scope["path"].startswith("/slow/"):
        await asyncio.sleep(float(scope["path"].removeprefix("/slow/")))
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    status = 500 if scope["path"] == "/healthz" and os.environ.get("MANOR_TEST_SICK") else 200
    body = json.dumps({"slot": os.environ["MANOR_TEST_SLOT"], "bytes": size, "path": scope["path"], "headers": headers}).encode()
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json"), (b"x-manor-host", b"inside")]})
    await send({"type": "http.response.body", "body": body})


async def events(send: Send, count: int) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]})
    for number in range(count):
        await send({"type": "http.response.body", "body": f"data: {number}\n\n".encode(), "more_body": True})
        await asyncio.sleep(0.3)
    await send({"type": "http.response.body", "body": b""})


async def echo_socket(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif message["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": f"{os.environ['MANOR_TEST_SLOT']}:{message.get('text') or ''}"})
        else:
            return
