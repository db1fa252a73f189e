"""How long a client may take: a whole header in 30 s; a body, and the reading of its answer, without long silences and at a least rate.

Invariant: a client that is slow is ended; one that the application lets wait (nothing is read, or no answer has come yet) never is.
Invariant: what a client was quick with before gives it no more than the patience that it had at the beginning.
Uvicorn itself bounds only what lies between two requests of a connection (`timeout_keep_alive`): https://uvicorn.dev/settings/#timeouts
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

LEAST_BYTES_A_SECOND = 1024
"""Each KiB that goes over gives a second of patience back."""


@dataclass
class Allowance:
    """Seconds that may still be waited for somebody; spent by waiting, earned by what goes over, never more than at the beginning."""

    whole: float
    left: float

    @classmethod
    def of(cls, seconds: float) -> Allowance:
        """Begin with so many."""
        return cls(seconds, seconds)

    def count(self, waited_seconds: float, moved_bytes: int) -> None:
        """Take a time of waiting in, and what came of it."""
        self.left = min(self.whole, self.left - waited_seconds + moved_bytes / LEAST_BYTES_A_SECOND)


class Counted:
    """A connection that counts what is written to it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Count nothing yet."""
        self._transport = transport
        self.written_bytes = 0

    def write(self, data: bytes) -> None:
        """Write, and count."""
        self.written_bytes += len(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        """Be the connection in all else."""
        return getattr(self._transport, name)


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
    answer_seconds: ClassVar[float] = 130.0
    """Of an answer that waits and is not read."""

    def __init__(self, *args: Any, **more: Any) -> None:
        """Begin as uvicorn does."""
        super().__init__(*args, **more)
        self._is_new = True
        self._waits = Waits.HEADER
        self._since = 0.0
        self._looked = 0.0
        self._body = Allowance.of(self.body_seconds)
        self._measured: object = None
        self._answer = Allowance.of(self.answer_seconds)
        self._sent_bytes = 0
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        """Begin to look."""
        self._counted = Counted(transport)
        super().connection_made(cast("asyncio.Transport", self._counted))
        self._since = self._looked = self.loop.time()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        if self._watch:
            self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Note what is waited for now, and how a body that is wanted goes on."""
        super().data_received(data)
        self._note()
        if self._waits is Waits.BODY:
            if self._measured is not self.cycle:
                self._measured, self._body = self.cycle, Allowance.of(self.body_seconds)
            self._body.count(self.loop.time() - self._since, len(data))
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
        if not self._is_read() or (self._is_late() and not self._may_be_told()):
            self.transport.abort()
            return
        if self._is_late() and not self.transport.is_closing():
            self._refuse()
        self._watch = self.loop.call_later(self._pause(), self._look)

    def _pause(self) -> float:
        """Return the seconds between two looks."""
        return min(self.header_seconds, self.body_seconds) / 10

    def _is_late(self) -> bool:
        """Tell whether the client has not sent in time what is waited for; not once the connection is being closed."""
        if self._waits is Waits.NOTHING or self.transport.is_closing():
            return False
        limits = {Waits.HEADER: self.header_seconds, Waits.BODY: self._body.left, Waits.UNWANTED: self.body_seconds}
        return self.loop.time() - self._since >= limits[self._waits]

    def _may_be_told(self) -> bool:
        return self._waits is Waits.HEADER and bool(self.conn.trailing_data[0])

    def _is_read(self) -> bool:
        """Tell whether the client takes what is written to it, if anything waits to be taken."""
        waiting, now = self.transport.get_write_buffer_size(), self.loop.time()
        sent = self._counted.written_bytes - waiting
        if waiting:
            standing = min(now - self._looked, 2 * self._pause())  # where we ourselves stood still longer, it is not the client's fault
            self._answer.count(standing, sent - self._sent_bytes)
        else:
            self._answer = Allowance.of(self.answer_seconds)
        self._looked, self._sent_bytes = now, sent
        return self._answer.left > 0

    def _refuse(self) -> None:
        """Say that the header took too long, and end the connection."""
        text = f"the header of a request has {self.header_seconds:g} s\n".encode()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text))), ("Connection", "close")]
        for event in (h11.Response(status_code=408, headers=headers, reason=b"Request Timeout"), h11.Data(text), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
