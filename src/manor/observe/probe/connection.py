"""One connection to the front door, and one request at a time on it.

Invariant: every exchange is told exactly once how it ended; nothing is sent twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from manor.observe.probe.model import LossKind
from manor.observe.probe.wire import AnswerReader, MalformedAnswer

Finish = Callable[[int, LossKind | None], None]


@dataclass
class Exchange:
    """A request on its way: what to send, and whom to tell the status and why it counts as lost, if so."""

    request: bytes
    is_head: bool
    finish: Finish


class Connection(asyncio.Protocol):
    """Sends a request, reads its answer, and is then free for the next."""

    def __init__(self, released: Callable[[Connection], None], clock: Callable[[], float]) -> None:
        """Call `released` after each whole answer on a connection that stays usable."""
        self._released = released
        self._clock = clock
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._reader: AnswerReader | None = None
        self.idle_since = 0.0
        self.is_open = False
        """Nothing is known that speaks against using it; an end that has not been read yet is not known."""

    def send(self, exchange: Exchange) -> None:
        """Send the request now; on a connection that ended since it was made, it is lost."""
        if not self.is_open or self._transport is None:
            exchange.finish(0, LossKind.RESET)
            return
        self._exchange = exchange
        self._reader = AnswerReader(is_head=exchange.is_head)
        self._transport.write(exchange.request)

    def give_up(self) -> None:
        """End the exchange as lost, its time being up; the connection goes at once."""
        self._end(LossKind.TIMED_OUT)

    def close(self) -> None:
        """Close an idle connection, or forget one that is in use."""
        self.is_open = False
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio)."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Read on (asyncio)."""
        reader = self._reader
        if reader is None:  # bytes that nobody asked for, e.g. 408 before the server closes an idle connection
            self.close()
            return
        try:
            reader.feed(data)
        except MalformedAnswer:
            self._end(LossKind.TRUNCATED)
            return
        if reader.is_done:
            self._succeed(reader)

    def eof_received(self) -> bool:
        """Take the other side's end as the end (asyncio)."""
        self._ended()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end in (asyncio)."""
        del exc
        self._ended()

    def _ended(self) -> None:
        self.is_open = False
        reader = self._reader
        if reader is None:
            return
        if reader.end():
            self._succeed(reader)
        else:
            self._end(LossKind.TRUNCATED if reader.has_begun else LossKind.RESET)

    def _succeed(self, reader: AnswerReader) -> None:
        finish = self._forget()
        if reader.keeps_alive and self.is_open:
            self.idle_since = self._clock()
            self._released(self)
        else:
            self.close()
        finish(reader.status, None)

    def _end(self, kind: LossKind) -> None:
        status = self._reader.status if self._reader else 0
        finish = self._forget()
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()
        finish(status, kind)

    def _forget(self) -> Finish:
        exchange = self._exchange
        self._exchange = self._reader = None
        return exchange.finish if exchange else ignore


def ignore(status: int, kind: LossKind | None) -> None:
    """Nobody waits for this end."""
    del status, kind
