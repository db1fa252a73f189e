"""Bursts at an idle limit: requests that arrive just when a connection behind the first tier is given up.

All clients, each with a connection of its own, ask at the same moment, the limit ± 15 ms after the middle of the last burst's answers.
"""

from __future__ import annotations

import asyncio
import ssl
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

OFFSETS_SECONDS = (-0.015, -0.010, -0.005, 0.0, 0.005, 0.010, 0.015)
"""Of one burst after the other."""
ANSWER_SECONDS = 20.0
BODY = b"name=value"


@dataclass(frozen=True)
class Door:
    """Where clients ask."""

    address: str
    port: int
    host: str
    ca_file: str = ""
    """Empty: without TLS."""


@dataclass
class Tally:
    """What came of the requests."""

    sent: int = 0
    lost: Counter[str] = field(default_factory=Counter)

    @property
    def total_lost(self) -> int:
        """All that was lost."""
        return sum(self.lost.values())

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.total_lost} of {self.sent}" + (f" ({', '.join(f'{count} × {what}' for what, count in self.lost.items())})" if self.lost else "")


async def burst(door: Door, method: str, *, limit_seconds: float, clients: int, bursts: int) -> Tally:
    """Return what came of so many bursts; the first one, that only fills the pools, is counted too."""
    tally = Tally()
    everyone = [Client(door, method, tally) for _ in range(clients)]
    for number in range(bursts + 1):
        ends = await asyncio.gather(*(one.ask() for one in everyone))
        if number < bursts:
            due = statistics.median(ends) + limit_seconds + OFFSETS_SECONDS[number % len(OFFSETS_SECONDS)]
            await asyncio.sleep(max(0.0, due - time.monotonic()))
    for one in everyone:
        one.close()
    return tally


@dataclass
class Client:
    """A client with a connection of its own; a lost request is counted, never repeated."""

    door: Door
    method: str
    tally: Tally
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> float:
        """Ask once; return when the answer ended."""
        self.tally.sent += 1
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                self.streams = self.streams or await connect(self.door)
                status = await ask(self.streams, self.door, self.method)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.tally.lost[type(error).__name__] += 1
            self.close()
        else:
            if status != 200:
                self.tally.lost[str(status)] += 1
        return time.monotonic()

    def close(self) -> None:
        """Close the connection."""
        if self.streams is not None:
            self.streams[1].close()
        self.streams = None


async def connect(door: Door) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a client's connection. Raises OSError."""
    context = ssl.create_default_context(cafile=door.ca_file) if door.ca_file else None
    return await asyncio.open_connection(door.address, door.port, ssl=context, server_hostname=door.host if context else None)


async def ask(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], door: Door, method: str) -> int:
    """Send one request and read its answer to the end; return the status. Raises OSError or IncompleteReadError."""
    reader, writer = streams
    body = BODY if method == "POST" else b""
    writer.write(f"{method} /idle HTTP/1.1\r\nHost: {door.host}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))
    if "connection: close" in head:
        raise ConnectionError("the first tier closed a client's connection")
    return int(head.split()[1])
