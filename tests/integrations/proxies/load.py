<<<<<<< HEAD
"""Steady load over kept and new connections, counting every request that is not answered as it should be."""
=======
"""A small steady load over kept connections that counts every request that was not answered 200; never repeats one."""
>>>>>>> proxies1

from __future__ import annotations

import asyncio
import time
from collections import Counter
<<<<<<< HEAD
from collections.abc import Sequence
=======
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
>>>>>>> proxies1
from dataclasses import dataclass, field


@dataclass
class Tally:
<<<<<<< HEAD
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
=======
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
>>>>>>> proxies1
