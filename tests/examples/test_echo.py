"""The echo service, called in process as a server would call it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from examples.echo.echo import Echo, Manners, Message, arguments, main, manners_of


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


async def ask(
    echo: Echo, path: str, method: str = "GET", body: Iterable[bytes] = (b"",), headers: Iterable[tuple[str, str]] = (), *, leaves: bool = False
) -> Reply | None:
    """Make one request; None if the service gave no answer."""
    parts = [{"type": "http.request", "body": part, "more_body": True} for part in body]
    waiting: list[Message] = [*parts, {"type": "http.disconnect"} if leaves else {"type": "http.request", "body": b"", "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    path, _, query = path.partition("?")
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode()}
    await echo({**scope, "headers": [(name.lower().encode(), value.encode()) for name, value in headers]}, receive, send)
    if not sent:
        return None
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Reply(sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:]))


async def get(echo: Echo, path: str, **more: Any) -> Reply:
    reply = await ask(echo, path, **more)
    assert reply is not None
    return reply


ECHO = Echo(Manners(release="r1", slot="b"))


async def test_it_says_who_answered() -> None:
    reply = await get(ECHO, "/any?a=1")
    assert (reply.document["release"], reply.document["slot"], reply.document["path"], reply.document["query"]) == ("r1", "b", "/any", {"a": "1"})
    assert (reply.headers["x-echo-release"], reply.headers["x-echo-slot"]) == ("r1", "b")
    assert int(reply.headers["content-length"]) == len(reply.body)


async def test_a_body_is_counted_and_hashed() -> None:
    reply = await get(ECHO, "/up", method="POST", body=[b"ab", b"c"])
    assert reply.document["body"] == {"bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}


async def test_headers_of_tiers_are_shown_in_any_spelling() -> None:
    sent = [("X-Request-Id", "7"), ("X-Manor-Service", "shop"), ("X_Manor_Slot", "a"), ("Cookie", "secret")]
    assert (await get(ECHO, "/", headers=sent)).document["headers"] == {"x-request-id": "7", "x-manor-service": "shop", "x_manor_slot": "a"}


@pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("/fail?status=503", 503), ("/fail", 500), ("/fail?status=x", 500)])
async def test_status(path: str, status: int) -> None:
    assert (await get(ECHO, path)).status == status


async def test_a_head_has_no_body() -> None:
    assert (await get(ECHO, "/", method="HEAD")).body == b""


async def test_cacheable() -> None:
    assert (await get(ECHO, "/cacheable?max_age=7")).headers["cache-control"] == "public, max-age=7"


async def test_large_answers_come_in_parts() -> None:
    assert len((await get(ECHO, "/large?size=100001")).body) == 100001


async def test_events() -> None:
    reply = await get(ECHO, "/events?seconds=0.01&every=0.01")
    assert reply.body.startswith(b"id: 0\nevent: tick\ndata: r1\n\n")
    assert reply.body.endswith(b"event: end\ndata: r1\n\n")


async def test_slow_when_told_so() -> None:
    began = time.monotonic()
    await get(ECHO, "/?sleep=0.02")
    await get(Echo(Manners(sleep_seconds=0.02)), "/")
    assert time.monotonic() - began >= 0.04


async def test_failing_when_told_so() -> None:
    echo = Echo(Manners(fails=True))
    assert [(await get(echo, path)).status for path in ("/", "/healthz", "/cacheable")] == [500, 500, 500]


async def test_flapping_when_told_so() -> None:
    echo = Echo(Manners(flaps_every=3))
    assert [(await get(echo, "/healthz")).status for _ in range(6)] == [200, 200, 503, 200, 200, 503]


async def test_a_client_that_leaves_gets_nothing() -> None:
    assert await ask(ECHO, "/up", method="POST", body=[b"half"], leaves=True) is None


async def test_a_websocket_gets_its_own_words_back() -> None:
    waiting: list[Message] = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "hello"},
        {"type": "websocket.receive", "bytes": b"\0\1", "text": None},
        {"type": "websocket.disconnect", "code": 1000},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await ECHO({"type": "websocket"}, receive, send)
    assert sent[0]["type"] == "websocket.accept"
    assert sent[1:] == [{"type": "websocket.send", "text": "hello"}, {"type": "websocket.send", "bytes": b"\0\1"}]


def test_the_environment_is_read() -> None:
    environ = {"MANOR_RELEASE": "r2", "MANOR_SLOT": "a", "ECHO_SLEEP": "0.5", "ECHO_FAIL": "1", "ECHO_FLAP": "4"}
    assert manners_of(environ) == Manners("r2", "a", 0.5, fails=True, flaps_every=4)


def test_the_command_line_wins_over_the_environment() -> None:
    chosen = arguments(["--bind", "127.0.0.1:1", "--release", "r3"], {"MANOR_RELEASE": "r2", "MANOR_SLOT": "a"})
    assert (chosen.release, chosen.slot, chosen.keep_alive, chosen.start_seconds) == ("r3", "a", 5.0, 0.0)


def test_it_does_not_start_when_told_so() -> None:
    assert main(["--bind", "127.0.0.1:1"], {"ECHO_EXIT": "1"}) == 1
