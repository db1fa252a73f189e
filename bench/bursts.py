"""Bursts at an idle limit: requests that arrive just when a connection behind the first tier is given up.

Each client keeps its own connection and sends its next request the limit ± 15 ms after its last answer, so that every burst covers the whole stretch.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from dataclasses import dataclass, field

JITTER_SECONDS = 0.015
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
    await asyncio.gather(*(client(door, method, limit_seconds + offset(number, clients), bursts, tally) for number in range(clients)))
    return tally


def offset(number: int, clients: int) -> float:
    """Return a client's place within ± 15 ms."""
    return JITTER_SECONDS * (2 * number / max(1, clients - 1) - 1)


async def client(door: Door, method: str, pause: float, bursts: int, tally: Tally) -> None:
    """Ask, pause, ask again; a lost request is counted, never repeated."""
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    for number in range(bursts + 1):
        if number:
            await asyncio.sleep(pause)
        tally.sent += 1
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                streams = streams or await connect(door)
                status = await ask(streams, door, method)
        except (OSError, asyncio.IncompleteReadError) as error:
            tally.lost[type(error).__name__] += 1
            streams = None
        else:
            if status != 200:
                tally.lost[str(status)] += 1
    if streams is not None:
        streams[1].close()


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
