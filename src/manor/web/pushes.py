"""Pushes under way, and what their hook is told (docs/git.md).

Invariant: a push is found only by its random id, which only its own hook knows.
Invariant: its run is in the store before the first line is written.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

BREATH_SECONDS = 15.0
LEDGER_SECONDS = 20.0
LONGEST_NEWS_BYTES = 1024 * 1024


class Delivery(Protocol):
    """What happens to pushed commits."""

    async def catch_up(self, repository: str, actor: str) -> None:
        """Compare the refs with the ledger and record a run for each new commit of a delivered branch."""

    async def run_of(self, repository: str, ref: str, commit: str) -> str | None:
        """Return the id of the commit's run on that branch, or None if the branch is not delivered."""

    def follow(self, run: str) -> AsyncGenerator[str, None]:
        """Yield the run's log, line by line, until it ends."""


@dataclass
class Push:
    """One push under way."""

    repository: str
    actor: str
    id: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """The pusher went away."""
    end_turn: Callable[[], None] = lambda: None
    """Lets the next push in: its refs have moved, and what is left is to watch."""


class Pushes:
    """The pushes under way, and the delivery they report to."""

    def __init__(self, delivery: Delivery, most_watchers: int) -> None:
        """Report to `delivery`; so many pushers at once see the log of their run."""
        self._delivery = delivery
        self._most_watchers = most_watchers
        self._watchers = 0
        self._open: dict[str, Push] = {}

    @contextmanager
    def one(self, repository: str, actor: str) -> Iterator[Push]:
        """Keep a push open for as long as it lasts."""
        push = Push(repository, actor)
        self._open[push.id] = push
        try:
            yield push
        finally:
            push.gone.set()
            del self._open[push.id]

    def let_go(self) -> None:
        """Stop showing anything to the pushers, because the server stops; their runs go on."""
        for push in self._open.values():
            push.gone.set()

    async def told(self, request: Request) -> Response:
        """Answer a hook that reports moved refs: with the run of each, and its log unless detached."""
        push = self._open.get(request.path_params["push"])
        if push is None:
            return PlainTextResponse("there is no such push\n", 404)
        push.end_turn()
        refs = parse_moved(await _short_body(request))
        if not await self._is_recorded(push):
            return PlainTextResponse("the ledger is busy; the push's run is recorded within seconds\n")
        lines = self._lines(push, refs, is_detached=request.query_params.get("detach") == "1")
        return StreamingResponse(lines, media_type="text/plain; charset=utf-8")

    async def _is_recorded(self, push: Push) -> bool:
        try:
            async with asyncio.timeout(LEDGER_SECONDS):
                await self._delivery.catch_up(push.repository, push.actor)
        except TimeoutError:
            return False
        return True

    async def _lines(self, push: Push, refs: Sequence[tuple[str, str]], *, is_detached: bool) -> AsyncGenerator[str, None]:
        for ref, commit in refs:
            run = await self._delivery.run_of(push.repository, ref, commit)
            name = ref.removeprefix("refs/heads/")
            if run is None:
                yield f"{name} {commit[:12]}: kept; this branch is not delivered\n"
                continue
            yield f"{name} {commit[:12]}: run {run}\n"
            if not is_detached:
                async with aclosing(self._log(push, run)) as log:
                    async for line in log:
                        yield line

    async def _log(self, push: Push, run: str) -> AsyncGenerator[str, None]:
        """Yield a run's log; if many watch already, where it is found."""
        if self._watchers >= self._most_watchers:
            yield f"as many pushers watch as may ({self._most_watchers}); it goes on without you, see `manor run {run}`\n"
            return
        self._watchers += 1
        try:
            async with aclosing(until(push.gone, self._delivery.follow(run))) as log:
                async for line in log:
                    yield line
        finally:
            self._watchers -= 1


def parse_moved(body: str) -> tuple[tuple[str, str], ...]:
    """Return (ref, commit) of the branches that stand somewhere new, from lines `<old> <new> <ref>`."""
    parts = [line.split(" ", 2) for line in body.splitlines()]
    return tuple((part[2], part[1]) for part in parts if len(part) == 3 and part[2].startswith("refs/heads/") and part[1].strip("0"))


async def until(gone: asyncio.Event, lines: AsyncIterator[str]) -> AsyncGenerator[str, None]:
    """Yield lines until they end or nobody is there any more; an empty line when nothing has come for 15 s."""
    leaving = asyncio.ensure_future(gone.wait())
    coming = asyncio.ensure_future(_next(lines))
    try:
        while not leaving.done():
            await asyncio.wait({leaving, coming}, timeout=BREATH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                yield "\n"
            elif (line := coming.result()) is None:
                return
            else:
                yield f"{line}\n"
                coming = asyncio.ensure_future(_next(lines))
    finally:
        leaving.cancel()
        coming.cancel()
        await asyncio.gather(leaving, coming, return_exceptions=True)


async def _next(lines: AsyncIterator[str]) -> str | None:
    async for line in lines:
        return line
    return None


async def _short_body(request: Request) -> str:
    body = b""
    async for chunk in request.stream():
        body = (body + chunk)[:LONGEST_NEWS_BYTES]
    return body.decode("utf-8", "replace")
