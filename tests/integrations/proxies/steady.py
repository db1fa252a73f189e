"""Steady load over kept and new connections, counting every request that is not answered as it should be."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Tally:
    """What came of the requests."""

    sent: int = 0
    lost: list[str] = field(default_factory=list)
    slots: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send a request and read its answer. Raises OSError or EOFError when there is none."""
    writer.write(request)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        body = await chunks(reader)
    else:
        body = b""
    return int(head[0].split()[1]), headers, body


async def chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


def request(method: str, host: str, path: str = "/", body: bytes = b"", headers: Sequence[str] = ()) -> bytes:
    """Return a request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    lines += [f"Content-Length: {len(body)}"] if method == "POST" or body else []
    return "\r\n".join([*lines, "", ""]).encode() + body


async def ask(
    place: tuple[str, int], method: str, host: str, path: str = "/", body: bytes = b"", headers: Sequence[str] = ()
) -> tuple[int, dict[str, str], bytes]:
    """Make one request on a connection of its own."""
    reader, writer = await asyncio.open_connection(*place, limit=2**24)
    try:
        async with asyncio.timeout(20):
            return await exchange(reader, writer, request(method, host, path, body, headers))
    finally:
        writer.close()


class Load:
    """So many clients, half on kept connections, half on new ones; half GET, half POST."""

    def __init__(self, place: tuple[str, int], host: str, clients: int = 8, pause_seconds: float = 0.02, path: str = "/") -> None:
        self.place, self.host, self.clients, self.pause, self.path = place, host, clients, pause_seconds, path
        self.tally, self.stopping = Tally(), False
        self.by_method: Counter[str] = Counter()

    async def __aenter__(self) -> Load:
        self.tasks = [asyncio.create_task(self._client(number)) for number in range(self.clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopping = True
        await asyncio.gather(*self.tasks)

    async def _client(self, number: int) -> None:
        kept: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        turn = number
        while not self.stopping:
            turn += 1
            method = "POST" if turn % 2 else "GET"
            keep = number % 2 == 0
            began = time.monotonic()
            self.tally.sent += 1
            self.by_method[method] += 1
            try:
                async with asyncio.timeout(10):
                    kept = kept or await asyncio.open_connection(*self.place)
                    status, headers, body = await exchange(*kept, request(method, self.host, self.path, b"x" * 200 if method == "POST" else b""))
                if status != 200:
                    self.tally.lost.append(f"{method} {status} {body[:60]!r}")
                self.tally.slots[body.decode()[10:11]] += 1
                if not keep or headers.get("connection") == "close":
                    kept[1].close()
                    kept = None
            except (OSError, EOFError, TimeoutError) as error:
                self.tally.lost.append(f"{method} {type(error).__name__} after {time.monotonic() - began:.3f} s, {'kept' if kept else 'no'} connection")
                if kept:
                    kept[1].close()
                kept = None
            self.tally.slowest_seconds = max(self.tally.slowest_seconds, time.monotonic() - began)
            await asyncio.sleep(self.pause)
        if kept:
            kept[1].close()
