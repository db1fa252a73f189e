"""How many pushes at once: one whose refs have moved, and which only watches, is in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Message

from manor.execution.values import HostPath, Secret
from manor.integrations.repositories.base import GitRequest, Hosting, Pusher, Source
from manor.web.access import Grant
from manor.web.git import GitExchange, GitLimits, GitPorts, GitServer

BODY = f"{'0' * 40} {'a' * 40} refs/heads/main\n".encode()


@dataclass
class World:
    """A git server whose pushes go on until they are let go, and whose runs end when they are told to."""

    pushed: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    callbacks: list[str] = field(default_factory=list)

    async def catch_up(self, _repository: str, _actor: str) -> None:
        """Know every commit."""

    async def run_of(self, _repository: str, _ref: str, _commit: str) -> str | None:
        return "run-1"

    async def follow(self, run: str) -> AsyncGenerator[str, None]:
        yield f"log of {run}"
        await self.ended.wait()

    def backend(self, _source: Source, asked: GitRequest, _pusher: Pusher) -> None:
        self.callbacks.append(asked.callback.rpartition("/")[2])


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()

    class Relay:
        def __init__(self, *_: object) -> None:
            """Carry nothing."""

        async def carry(self, _program: object) -> None:
            await world.pushed.wait()

    monkeypatch.setattr("manor.web.git.Relay", Relay)
    return world


def git_server(world: World, limits: GitLimits) -> GitServer:
    async def check(_token: Secret) -> Grant | None:
        return None

    ports = GitPorts(cast("Hosting", world), lambda _name: None, check, world, "http://127.0.0.1:1", HostPath("/empty"), limits)
    return GitServer(ports)


async def push(git: GitServer) -> int:
    """Push, and return the status of a refusal; 0 when it is through."""
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    seen: list[int] = []

    async def send(message: Message) -> None:
        seen.extend([message["status"]] if "status" in message else [])

    source, grant = cast("Source", type("Shop", (), {"name": "shop"})), Grant("ann", frozenset({"push"}))
    await GitExchange(git, Request(scope), source, grant, ("git-receive-pack", "git-receive-pack", ""))(scope, cast("Any", None), send)
    return seen[0] if seen else 0


def told(git: GitServer, identifier: str) -> Callable[[], Any]:
    """Return what the hook of a push does when the refs have moved."""

    async def receive() -> Message:
        return {"type": "http.request", "body": BODY, "more_body": False}

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b"", "path_params": {"push": identifier}}
    return lambda: git.pushes.told(Request(scope, receive))


async def settled() -> None:
    """Let what is under way go on as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_push_that_only_watches_lets_the_next_one_in(world: World) -> None:
    git = git_server(world, GitLimits(pushes=1, wait_seconds=0))
    first = asyncio.create_task(push(git))
    await settled()
    assert await push(git) == 503, "the first one is still sending"
    hook = await told(git, world.callbacks[0])()
    second = asyncio.create_task(push(git))
    await settled()
    assert len(world.callbacks) == 2
    assert not first.done()
    assert not second.done()
    assert await push(git) == 503, "the second one counts"
    assert isinstance(hook, StreamingResponse)
    assert await anext(aiter(hook.body_iterator)) == f"main {'a' * 12}: run run-1\n"
    world.pushed.set()
    assert [await first, await second] == [0, 0]
    assert await push(git) == 0, "a turn was lost"
    world.pushed.clear()
    again = asyncio.create_task(push(git))
    await settled()
    assert await push(git) == 503, "a turn was given back twice"
    world.pushed.set()
    await again
    await git.close()


async def test_only_so_many_watch(world: World) -> None:
    git = git_server(world, GitLimits(pushes=1, watchers=1, wait_seconds=0))
    pushes, hooks = [], []
    for number in range(2):
        pushes.append(asyncio.create_task(push(git)))
        await settled()
        hooks.append(aiter((await told(git, world.callbacks[number])()).body_iterator))
    assert [await anext(hooks[0]) for _ in range(2)] == [f"main {'a' * 12}: run run-1\n", "log of run-1\n"]
    assert [line async for line in hooks[1]] == [
        f"main {'a' * 12}: run run-1\n",
        "as many pushers watch as may (1); it goes on without you, see `manor run run-1`\n",
    ]
    world.ended.set()
    assert [line async for line in hooks[0]] == []
    world.pushed.set()
    await asyncio.gather(*pushes)
    await git.close()


async def test_who_leaves_makes_room_for_the_next_watcher_at_once(world: World) -> None:
    git = git_server(world, GitLimits(pushes=1, watchers=1, wait_seconds=0))
    pushes, hooks = [], []
    for number in range(2):
        pushes.append(asyncio.create_task(push(git)))
        await settled()
        hooks.append(cast("AsyncGenerator[str, None]", (await told(git, world.callbacks[number])()).body_iterator))
    assert [await anext(hooks[0]) for _ in range(2)] == [f"main {'a' * 12}: run run-1\n", "log of run-1\n"]
    assert await anext(hooks[1]) == f"main {'a' * 12}: run run-1\n"
    await hooks[0].aclose()
    assert await anext(hooks[1]) == "log of run-1\n"
    await hooks[1].aclose()
    world.pushed.set()
    await asyncio.gather(*pushes)
    await git.close()
