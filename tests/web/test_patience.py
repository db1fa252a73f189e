"""Clients that send their request slowly, in a time of our own; and a few for real."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from manor.web import server
from manor.web.patience import PatientProtocol
from manor.web.server import listen_on_port, serve, settings

HEADER, BODY = PatientProtocol.header_seconds, PatientProtocol.body_seconds
POST = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"
GET = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"


class Timer(asyncio.TimerHandle):
    """Something that is due later."""


class Loop:
    """An event loop's time, which moves when it is told to; tasks run in the real one."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, do: Callable[..., object], *args: object) -> Timer:
        timer = Timer(self.now + seconds, do, args, asyncio.get_running_loop())
        self.due.append(timer)
        return timer

    def create_task(self, work: Coroutine[Any, Any, Any], **more: Any) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(work, **more)

    def pass_by(self, seconds: float) -> None:
        """Let time pass, and do what is due meanwhile."""
        end = self.now + seconds
        while ready := [timer for timer in self.due if timer.when() <= end and not timer.cancelled()]:
            first = min(ready, key=Timer.when)
            self.due.remove(first)
            self.now = first.when()
            first._run()
        self.now = end

    def stand_still(self, seconds: float) -> None:
        """Let time pass in which nothing is done, and then do once what had become due."""
        self.now += seconds
        for timer in [timer for timer in self.due if timer.when() <= self.now and not timer.cancelled()]:
            self.due.remove(timer)
            timer._run()


class Transport(asyncio.Transport):
    """A connection that notes what is done with it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.unread = 0
        self.is_open = True
        self.is_ended = False

    def write(self, data: Any) -> None:
        self.sent += data
        self.unread += len(data) if self.is_full else 0

    is_full = False

    def get_write_buffer_size(self) -> int:
        return self.unread

    def close(self) -> None:
        self.is_open = False

    def abort(self) -> None:
        self.is_open, self.is_ended = False, True

    def is_closing(self) -> bool:
        return not self.is_open

    def pause_reading(self) -> None:
        """Nothing is read by itself here."""

    resume_reading = pause_reading


async def settled() -> None:
    """Let what is under way go on as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def reading(_scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, then answer."""
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass
    await answer(send)


async def refusing(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer at once."""
    await answer(send)


async def answer(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class Client:
    """One client of an application."""

    def __init__(self, app: Any) -> None:
        config = settings(app)
        config.load()
        self.loop, self.transport = Loop(), Transport()
        self.protocol = PatientProtocol(config, ServerState(), {}, _loop=self.loop)
        self.protocol.connection_made(self.transport)

    async def send(self, data: bytes) -> None:
        self.protocol.data_received(data)
        await settled()

    @property
    def is_served(self) -> bool:
        return self.transport.is_open


async def test_who_says_nothing_is_ended() -> None:
    client = Client(reading)
    client.loop.pass_by(HEADER - 5)
    assert client.is_served
    client.loop.pass_by(10)
    assert not client.is_served
    assert client.transport.sent == b""


async def test_a_header_that_trickles_is_ended_in_all_its_time_and_told_why() -> None:
    client = Client(reading)
    for byte in POST:
        client.loop.pass_by(HEADER / 20)
        if not client.is_served:
            break
        await client.send(bytes([byte]))
    assert HEADER <= client.loop.now < HEADER * 1.2
    assert client.transport.sent.startswith(b"HTTP/1.1 408 ")
    assert client.transport.sent.endswith(b"the header of a request has 30 s\n")


async def test_the_next_header_of_a_connection_has_its_own_time() -> None:
    client = Client(reading)
    await client.send(GET)
    assert client.transport.sent.endswith(b"ok")
    client.loop.pass_by(HEADER * 2)
    assert client.is_served, "uvicorn's own limit is 75 s"
    await client.send(GET[:5])
    client.loop.pass_by(HEADER - 5)
    assert client.is_served
    client.loop.pass_by(10)
    assert not client.is_served


LARGE = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n"
PIECE = b"x" * 1024


async def test_a_body_may_take_long_but_not_be_silent() -> None:
    client = Client(reading)
    await client.send(LARGE)
    for _ in range(9):
        client.loop.pass_by(BODY - 20)
        await client.send(PIECE * int(BODY - 20))
    assert client.is_served
    client.loop.pass_by(BODY + HEADER)
    assert not client.is_served


@pytest.mark.parametrize("quick_at_first", [0, 5000])
async def test_a_body_that_trickles_is_ended(quick_at_first: int) -> None:
    client = Client(reading)
    await client.send(LARGE)
    for _ in range(quick_at_first):
        await client.send(PIECE)
    begun = client.loop.now
    while client.is_served and client.loop.now < begun + 10 * BODY:
        client.loop.pass_by(BODY - 20)
        if client.is_served:
            await client.send(b"x")
    assert BODY <= client.loop.now - begun <= 2 * BODY


async def test_each_body_of_a_connection_has_its_own_patience() -> None:
    client = Client(reading)
    for _ in range(3):
        await client.send(POST)
        client.loop.pass_by(BODY - 20)
        assert client.is_served
        await client.send(b"x" * 10)
        assert client.transport.sent.endswith(b"ok")


@pytest.mark.parametrize(("read_bytes", "is_served"), [(0, False), (100, False), (4096, True)])
async def test_who_does_not_read_its_answer_is_ended(read_bytes: int, is_served: bool) -> None:
    client = Client(refusing)
    client.transport.is_full = True
    await client.send(GET)
    client.protocol.transport.write(b"x" * 1_000_000)
    for _ in range(100):
        client.loop.pass_by(3)
        client.transport.unread -= read_bytes
    assert client.transport.is_ended is not is_served


async def test_what_is_read_while_more_is_written_counts() -> None:
    client = Client(refusing)
    client.transport.is_full = True
    await client.send(GET)
    for _ in range(100):
        client.loop.pass_by(3)
        client.protocol.transport.write(b"x" * 5000)
        client.transport.unread -= 4000
    assert not client.transport.is_ended
    client.loop.pass_by(BODY + HEADER)
    assert client.transport.is_ended


async def test_who_could_not_read_while_we_stood_still_is_not_ended_for_that() -> None:
    client = Client(refusing)
    client.transport.is_full = True
    await client.send(GET)
    client.loop.stand_still(3 * BODY)
    assert not client.transport.is_ended
    client.loop.pass_by(BODY + HEADER)
    assert client.transport.is_ended


async def test_a_connection_that_is_closed_and_not_read_is_ended_too() -> None:
    client = Client(reading)
    client.transport.is_full = True
    for byte in POST[:-1]:
        client.loop.pass_by(HEADER / 20)
        if client.transport.sent:
            break
        await client.send(bytes([byte]))
    assert not client.is_served
    assert not client.transport.is_ended, "408 is on its way"
    client.loop.pass_by(BODY + HEADER)
    assert client.transport.is_ended


async def test_a_body_that_nobody_wants_any_more_has_an_end() -> None:
    client = Client(refusing)
    await client.send(POST)
    assert client.transport.sent.endswith(b"ok")
    for _ in range(9):
        client.loop.pass_by(BODY / 5)
        if client.is_served:
            await client.send(b"x")
    assert not client.is_served


@pytest.mark.parametrize("waits_for", ["an answer", "being read"])
async def test_who_waits_for_us_is_never_ended(waits_for: str) -> None:
    going = asyncio.Event()

    async def slow(_scope: Scope, _receive: Receive, send: Send) -> None:
        await going.wait()
        await answer(send)

    client = Client(slow)
    large = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100_000
    await client.send(GET if waits_for == "an answer" else large)
    client.loop.pass_by(BODY * 20)
    assert client.is_served
    going.set()
    await settled()
    assert client.transport.sent.endswith(b"ok")


async def test_nothing_looks_after_a_connection_that_is_gone() -> None:
    client = Client(reading)
    client.protocol.connection_lost(None)
    assert all(timer.cancelled() for timer in client.loop.due)


class Hasty(PatientProtocol):
    """The same with little patience."""

    header_seconds = body_seconds = 0.5
    answer_seconds = 2.0


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        yield client


@asynccontextmanager
async def served(monkeypatch: pytest.MonkeyPatch, app: ASGIApp = reading) -> AsyncIterator[int]:
    """Give the port of a server with little patience."""

    def hasty(app: Any) -> uvicorn.Config:
        config = settings(app)
        config.http = Hasty
        return config

    monkeypatch.setattr(server, "settings", hasty)
    listener, stopping = listen_on_port("127.0.0.1", 0), asyncio.Event()
    running = asyncio.create_task(serve(app, listener, [], stopping))
    try:
        yield listener.socket.getsockname()[1]
    finally:
        stopping.set()
        await asyncio.wait_for(running, 20)


def said_until_the_end(port: int, data: bytes) -> bytes:
    """Return what a client that sends this and no more hears until it is hung up on."""
    heard = b""
    with connected(port) as client:
        client.sendall(data)
        try:
            while chunk := client.recv(65536):
                heard += chunk
        except ConnectionResetError:
            pass
    return heard


@pytest.mark.native
async def test_slow_clients_are_hung_up_on_and_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch) as port:
        slow = [asyncio.to_thread(said_until_the_end, port, data) for data in (b"", POST[:20], POST + b"abc")]
        quick = asyncio.to_thread(said_until_the_end, port, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        *heard, answered = await asyncio.wait_for(asyncio.gather(*slow, quick), 20)
    assert [said.partition(b"\r\n")[0] for said in heard] == [b"", b"HTTP/1.1 408 Request Timeout", b""]
    assert answered.endswith(b"ok")


def heard_bytes(port: int, data: bytes) -> int:
    """Return how much a client hears until it is hung up on."""
    heard = 0
    with connected(port) as client:
        client.sendall(data)
        while chunk := client.recv(1024 * 1024):
            heard += len(chunk)
    return heard


@pytest.mark.native
async def test_who_reads_nothing_is_hung_up_on_and_who_reads_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    size, ends = 64 * 1024 * 1024, asyncio.Queue[str]()

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(size).encode()), (b"connection", b"close")]})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(size // 64), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        await ends.put(scope["path"])

    async with served(monkeypatch, large) as port:
        with connected(port) as deaf:
            deaf.sendall(GET)
            assert await asyncio.wait_for(ends.get(), 20) == "/x", "it was held for ever"
        heard = await asyncio.wait_for(asyncio.to_thread(heard_bytes, port, GET.replace(b"/x", b"/y")), 20)
    assert heard > size
