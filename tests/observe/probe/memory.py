"""A server in memory: answers a connection's requests as it is told, after as long as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from manor.observe.probe.connection import Connection
from manor.observe.probe.model import Target

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Reply:
    """What the server does with a request: bytes after a time, then perhaps the end of the connection."""

    data: bytes = OK
    seconds: float = 0.01
    ends: bool = False


class MemoryTransport(asyncio.Transport):
    """The client's end."""

    def __init__(self, connection: Connection, server: Server) -> None:
        super().__init__()
        self.connection = connection
        self.server = server
        self.is_closed = False

    def write(self, data: Any) -> None:
        if self.is_closed:
            return
        reply = self.server.take(bytes(data))
        loop = asyncio.get_running_loop()
        if reply.data:
            loop.call_later(reply.seconds, self.deliver, reply.data)
        if reply.ends:
            loop.call_later(reply.seconds, self.end)

    def deliver(self, data: bytes) -> None:
        if not self.is_closed:
            self.connection.data_received(data)

    def end(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.connection.connection_lost(None)

    def close(self) -> None:
        asyncio.get_running_loop().call_soon(self.end)

    abort = close


@dataclass
class Server:
    """Accepts connections in memory."""

    reply: Callable[[int], Reply] = lambda number: Reply()
    dial_seconds: float = 0.001
    error: OSError | None = None
    requests: list[bytes] = field(default_factory=list)
    transports: list[MemoryTransport] = field(default_factory=list)

    def take(self, data: bytes) -> Reply:
        self.requests.append(data)
        return self.reply(len(self.requests) - 1)

    async def dial(self, target: Target, make: Callable[[], Connection]) -> Connection:
        del target
        await asyncio.sleep(self.dial_seconds)
        if self.error:
            raise self.error
        connection = make()
        self.transports.append(MemoryTransport(connection, self))
        connection.connection_made(self.transports[-1])
        return connection


def target(**changes: Any) -> Target:
    plain: dict[str, Any] = {"name": "health", "address": "127.0.0.1", "port": 8443, "host": "shop.localhost", "rate": 10.0, "share_new": 0.0, "tls": False}
    return Target(**plain | changes)
