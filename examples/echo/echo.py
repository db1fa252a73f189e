"""A small ASGI service for benchmarks and crash tests: it says who answered, and misbehaves when told to.

    python3 -m echo --bind 127.0.0.1:8100 [--release R] [--slot S] [--keep-alive SECONDS] [--start-seconds SECONDS]

Release and slot default to MANOR_RELEASE and MANOR_SLOT. What an environment variable sets holds for every request:
ECHO_SLEEP=0.2 answers late, ECHO_FAIL=1 answers 500, ECHO_FLAP=3 fails every third health check, ECHO_EXIT=1 does not start.

Needs uvicorn and websockets (requirements.txt) on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

SHOWN_HEADERS = ("host", "x-request-id", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "forwarded", "traceparent", "via")
CHUNK = b"0123456789abcdef" * 4096
LONGEST_SECONDS = 600.0


@dataclass(frozen=True)
class Manners:
    """How the service behaves, whatever is asked."""

    release: str = "none"
    slot: str = "none"
    sleep_seconds: float = 0.0
    fails: bool = False
    flaps_every: int = 0
    """Every so many health checks one fails; 0: none."""


def manners_of(environ: Mapping[str, str]) -> Manners:
    """Read the environment. Raises ValueError for a number that is none."""
    return Manners(
        release=environ.get("MANOR_RELEASE", "none"),
        slot=environ.get("MANOR_SLOT", "none"),
        sleep_seconds=float(environ.get("ECHO_SLEEP", "0")),
        fails=environ.get("ECHO_FAIL", "") == "1",
        flaps_every=int(environ.get("ECHO_FLAP", "0")),
    )


@dataclass(frozen=True)
class Question:
    """A request, with its body still to be read."""

    scope: Scope
    receive: Receive
    query: Mapping[str, str]

    @property
    def path(self) -> str:
        """The path, decoded."""
        return str(self.scope["path"])

    def number(self, key: str, default: float, most: float) -> float:
        """Return a number of the query, within 0 and `most`; what is no number is the default."""
        try:
            return max(0.0, min(float(self.query.get(key, default)), most))
        except ValueError:
            return default

    def headers(self) -> dict[str, str]:
        """Return the headers worth showing: those that tiers set, in any spelling."""
        named = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in self.scope["headers"])
        return {name: value for name, value in named if name.replace("_", "-") in SHOWN_HEADERS or name.replace("_", "-").startswith("x-manor-")}

    async def body(self) -> tuple[int, str]:
        """Read the body to its end, keeping none of it. Returns its bytes and sha256. Raises ConnectionError if the client leaves."""
        size, digest = 0, hashlib.sha256()
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError("the client left in the middle of its body")
            size += len(message.get("body", b""))
            digest.update(message.get("body", b""))
            if not message.get("more_body", False):
                return size, digest.hexdigest()


@dataclass(frozen=True)
class Answer:
    """A response; its parts are sent one by one."""

    parts: AsyncIterator[bytes]
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


async def once(content: bytes) -> AsyncIterator[bytes]:
    """Yield a body that is known as a whole."""
    yield content


async def filler(size_bytes: int) -> AsyncIterator[bytes]:
    """Yield so many bytes without holding them."""
    for start in range(0, size_bytes, len(CHUNK)):
        yield CHUNK[: size_bytes - start]


async def ticks(seconds: float, every_seconds: float, name: str) -> AsyncIterator[bytes]:
    """Yield server-sent events for so long, and a last one that says so."""
    end = time.monotonic() + seconds
    for number in itertools.count():
        yield f"id: {number}\nevent: tick\ndata: {name}\n\n".encode()
        if time.monotonic() + every_seconds > end:
            break
        await asyncio.sleep(every_seconds)
    yield f"event: end\ndata: {name}\n\n".encode()


def as_json(document: Mapping[str, object], status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """Answer with JSON of a known length."""
    content = json.dumps(document).encode() + b"\n"
    return Answer(once(content), status, (("content-type", "application/json"), ("content-length", str(len(content))), *headers))


@dataclass
class Echo:
    """The ASGI application."""

    manners: Manners = Manners()
    checks: Any = field(default_factory=lambda: itertools.count(1))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, WebSocket or lifespan."""
        if scope["type"] == "websocket":
            await self._websocket(receive, send)
        elif scope["type"] == "http":
            await self._http(Question(scope, receive, dict(parse_qsl(scope["query_string"].decode("latin-1")))), send)
        else:
            raise NotImplementedError(f"no {scope['type']} here")

    async def _http(self, question: Question, send: Send) -> None:
        try:
            size, digest = await question.body()
        except ConnectionError:
            return
        await asyncio.sleep(question.number("sleep", self.manners.sleep_seconds, LONGEST_SECONDS))
        answer = self.answer(question, size, digest)
        about = ((b"x-echo-release", self.manners.release.encode()), (b"x-echo-slot", self.manners.slot.encode()))
        headers = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": [*headers, *about]})
        async for part in answer.parts if question.scope["method"] != "HEAD" else once(b""):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def answer(self, question: Question, size: int, digest: str) -> Answer:
        """Decide what to say. `size` and `digest` are of the request's body."""
        who = {"release": self.manners.release, "slot": self.manners.slot, "pid": os.getpid()}
        if self.manners.fails:
            return as_json({**who, "error": "ECHO_FAIL is set"}, 500)
        match question.path:
            case "/healthz":
                return self._health(who)
            case "/fail":
                return as_json({**who, "error": "asked to fail"}, int(question.number("status", 500, 599)) or 500)
            case "/events":
                seconds, every = question.number("seconds", 1.0, LONGEST_SECONDS), question.number("every", 1.0, LONGEST_SECONDS) or 1.0
                return Answer(ticks(seconds, every, self.manners.release), 200, (("content-type", "text/event-stream"), ("cache-control", "no-store")))
            case "/large":
                length = int(question.number("size", 1e6, 1e10))
                return Answer(filler(length), 200, (("content-type", "application/octet-stream"), ("content-length", str(length))))
            case "/cacheable":
                return as_json(
                    {**who, "path": question.path, "at": time.time()}, 200, (("cache-control", f"public, max-age={int(question.number('max_age', 60, 1e9))}"),)
                )
            case path:
                said = {"method": question.scope["method"], "path": path, "query": dict(question.query), "headers": question.headers()}
                return as_json({**who, **said, "body": {"bytes": size, "sha256": digest}}, 200, (("cache-control", "no-store"),))

    def _health(self, who: Mapping[str, object]) -> Answer:
        is_bad = self.manners.flaps_every > 0 and next(self.checks) % self.manners.flaps_every == 0
        return as_json({**who, "healthy": not is_bad}, 503 if is_bad else 200, (("cache-control", "no-store"),))

    async def _websocket(self, receive: Receive, send: Send) -> None:
        """Say every message back, until the other side closes."""
        while True:
            message = await receive()
            match message["type"]:
                case "websocket.connect":
                    await send({"type": "websocket.accept", "headers": [(b"x-echo-release", self.manners.release.encode())]})
                case "websocket.receive" if message.get("text") is not None:
                    await send({"type": "websocket.send", "text": message["text"]})
                case "websocket.receive":
                    await send({"type": "websocket.send", "bytes": message["bytes"]})
                case _:
                    return


def arguments(argv: list[str], environ: Mapping[str, str]) -> argparse.Namespace:
    """Parse the command line. Raises SystemExit (2)."""
    manners = manners_of(environ)
    parser = argparse.ArgumentParser("echo", description="Says who answered.")
    parser.add_argument("--bind", required=True, metavar="ADDRESS:PORT")
    parser.add_argument("--release", default=manners.release)
    parser.add_argument("--slot", default=manners.slot)
    parser.add_argument("--keep-alive", type=float, default=5.0, metavar="SECONDS", help="close a connection that was idle for so long")
    parser.add_argument("--start-seconds", type=float, default=0.0, metavar="SECONDS", help="so long until it listens")
    return parser.parse_args(argv)


def main(argv: list[str], environ: Mapping[str, str]) -> int:
    """Serve until told to end; idle connections are then closed and requests in flight finished."""
    import uvicorn

    chosen = arguments(argv, environ)
    if environ.get("ECHO_EXIT", "") == "1":
        print("echo: ECHO_EXIT is set: not starting", file=sys.stderr)
        return 1
    time.sleep(chosen.start_seconds)
    address, _, port = chosen.bind.rpartition(":")
    manners = manners_of({**environ, "MANOR_RELEASE": chosen.release, "MANOR_SLOT": chosen.slot})
    uvicorn.run(
        Echo(manners),
        host=address.strip("[]"),
        port=int(port),
        lifespan="off",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=chosen.keep_alive,
        server_header=False,
        backlog=2048,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
