"""A small steady load over kept connections that counts every request that was not answered 200; never repeats one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Tally:
    """What came back."""

    answers: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    is_over: bool = False

    @property
    def total(self) -> int:
        """All requests."""
        return sum(self.answers.values()) + len(self.lost)


class Connection:
    """One kept connection."""

    def __init__(self, address: str, port: int) -> None:
        self.at = (address, port)
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        """Send one request and return status, headers and body; opens the connection when there is none."""
        if self.streams is None:
            self.streams = await asyncio.open_connection(*self.at)
        reader, writer = self.streams
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), f"Content-Length: {len(body)}"]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        got = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        content = await reader.readexactly(int(got.get("content-length", "0")))
        if got.get("connection", "").lower() == "close":
            self.close()
        return int(head[0].split()[1]), got, content

    def close(self) -> None:
        """Drop the connection."""
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


async def worker(tally: Tally, address: str, port: int, method: str, headers: Mapping[str, str], pause: float) -> None:
    """Ask again and again until it is over."""
    connection = Connection(address, port)
    number = 0
    while not tally.is_over:
        number += 1
        begin = time.monotonic()
        try:
            status, got, _ = await asyncio.wait_for(connection.ask(method, f"/load/{number % 50}", headers, b"x" * 20 if method == "POST" else b""), 10)
        except (OSError, EOFError, TimeoutError) as error:
            tally.lost.append(f"{method} {error!r} after {time.monotonic() - begin:.3f} s")
            connection.close()
        else:
            if status == 200:
                tally.answers[f"{method} {got.get('x-manor-slot', '-')}"] += 1
            else:
                tally.lost.append(f"{method} {status} after {time.monotonic() - begin:.3f} s")
        await asyncio.sleep(pause)
    connection.close()


@asynccontextmanager
async def running(address: str, port: int, headers: Mapping[str, str], workers: int = 8, rate: float = 300.0) -> AsyncIterator[Tally]:
    """Ask from half of the workers by GET and from the other half by POST, about `rate` requests a second in all."""
    tally = Tally()
    tasks = [asyncio.create_task(worker(tally, address, port, ("GET", "POST")[one % 2], headers, workers / rate)) for one in range(workers)]
    try:
        yield tally
    finally:
        tally.is_over = True
        await asyncio.wait_for(asyncio.gather(*tasks), 20)
