"""How long a client may take to send its request: a whole header in 30 s, a body without a long silence.

Invariant: a client that is slow is ended; one that the application lets wait (nothing is read, or no answer has come yet) never is.
Uvicorn itself bounds only what lies between two requests of a connection (`timeout_keep_alive`): https://uvicorn.dev/settings/#timeouts
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class Waits(Enum):
    """What is waited for."""

    HEADER = "the rest of a header, or the first one of a connection"
    BODY = "more of a body that is wanted"
    UNWANTED = "the end of a body whose request is answered"
    NOTHING = "nothing from the client: it waits for us, or is between two requests"


class PatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, with an end to waiting for the client."""

    header_seconds: ClassVar[float] = 30.0
    """For the whole header."""
    body_seconds: ClassVar[float] = 130.0
    """Of silence within a body; in all, for one that nobody wants any more. Longer than what an endpoint itself waits: that answers with why."""

    def __init__(self, *args: Any, **more: Any) -> None:
        """Begin as uvicorn does."""
        super().__init__(*args, **more)
        self._is_new = True
        self._waits = Waits.HEADER
        self._since = 0.0
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        """Begin to look."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        if self._watch:
            self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Note what is waited for now; each piece of a body that is wanted starts the time anew."""
        super().data_received(data)
        self._note()
        if self._waits is Waits.BODY:
            self._since = self.loop.time()

    def _note(self) -> None:
        now = self._waiting_for()
        self._is_new = self._is_new and now is Waits.HEADER
        if now is not self._waits:
            self._waits, self._since = now, self.loop.time()

    def _waiting_for(self) -> Waits:
        if self.conn.their_state is h11.IDLE:
            return Waits.HEADER if self._is_new or self.conn.trailing_data[0] else Waits.NOTHING
        if self.conn.their_state is not h11.SEND_BODY:
            return Waits.NOTHING
        if self.conn.our_state is h11.DONE:
            return Waits.UNWANTED
        return Waits.NOTHING if self.flow.read_paused else Waits.BODY

    def _look(self) -> None:
        """End the connection if the time is up, else look again soon."""
        self._note()
        limit = self.header_seconds if self._waits is Waits.HEADER else self.body_seconds
        if self._waits is Waits.NOTHING or self.loop.time() - self._since < limit:
            self._watch = self.loop.call_later(min(self.header_seconds, self.body_seconds) / 10, self._look)
        elif self._waits is Waits.HEADER and self.conn.trailing_data[0]:
            self._refuse()
        else:
            self.transport.abort()

    def _refuse(self) -> None:
        """Say that the header took too long, and end the connection."""
        text = f"the header of a request has {self.header_seconds:g} s\n".encode()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text))), ("Connection", "close")]
        for event in (h11.Response(status_code=408, headers=headers, reason=b"Request Timeout"), h11.Data(text), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
