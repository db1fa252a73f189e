"""One HTTP exchange carried to a CGI program and back, streaming both ways.

Invariant: the program ends with the exchange, except that a push whose whole body has arrived is finished even when its client is gone.
Invariant: the client's body is read to its end even when the program no longer wants it: else the client would see a reset, not the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Receive, Send

from manor.errors import CommandFailed
from manor.execution.cgi import CgiExchange, CgiProgram, started


@dataclass(frozen=True)
class Patience:
    """How long an exchange may take, in seconds."""

    total: float = 3600.0
    idle_client: float = 120.0
    """A client that sends nothing for so long, while its body is not complete."""
    unread_body: float = 300.0
    """How long the rest of a refused body is read and thrown away."""


class ClientGone(Exception):
    """The client went away before its request was complete."""


class Relay:
    """Carries one exchange."""

    def __init__(self, receive: Receive, send: Send, patience: Patience, on_gone: Callable[[], None] | None = None) -> None:
        """Carry between an ASGI client and a program; with `on_gone` a complete request is finished without its client, which is told."""
        self._receive = receive
        self._send = send
        self._patience = patience
        self._on_gone = on_gone
        self._complete = asyncio.Event()
        self.has_answered = False

    async def carry(self, program: CgiProgram) -> None:
        """Carry to the end. Raises ClientGone, CommandFailed (no answer), TimeoutError."""
        async with asyncio.timeout(self._patience.total), started(program) as exchange:
            feeding = asyncio.create_task(self._feed(exchange))
            answering = asyncio.create_task(self._answer(exchange))
            try:
                await self._both(feeding, answering)
            finally:
                await _ended(feeding, answering)

    async def _both(self, feeding: asyncio.Task[None], answering: asyncio.Task[None]) -> None:
        await asyncio.wait({feeding, answering}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            answering.result()
            return
        feeding.result()
        if self._on_gone is None:
            raise ClientGone
        self._on_gone()
        await answering

    async def _feed(self, exchange: CgiExchange) -> None:
        """Pass the request's body on; returns when the client is gone after that."""
        is_wanted, more = True, True
        while more:
            async with asyncio.timeout(self._patience.idle_client):
                message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            more = message.get("more_body", False)
            is_wanted = is_wanted and await exchange.feed(message.get("body", b""))
        await exchange.end_of_body()
        self._complete.set()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _answer(self, exchange: CgiExchange) -> None:
        head = await exchange.head()
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.headers]
        await self._send({"type": "http.response.start", "status": head.status, "headers": headers})
        self.has_answered = True
        async for chunk in exchange.body():
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        async with asyncio.timeout(self._patience.unread_body):
            await self._complete.wait()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


async def _ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


__all__ = ["ClientGone", "CommandFailed", "Patience", "Relay"]
