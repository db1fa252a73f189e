"""How often hosts are asked when they are looked at (docs/apply.md, round trips)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from manor.execution.base import Runner
from manor.reconcile.ending import raise_unless_applied
from manor.reconcile.plan import Observed, plan_environment
from manor.workflows.applying import observe_site
from tests.reconcile.many import ManyToys, wiring_of
from tests.rollout.model import ModelClock, World
from tests.rollout.running import InlineStore

CALLS = ("_run", "_talk", "_request", "_connect", "_change", "_read", "_digest", "_listings", "_start", "_attach", "_log", "_cancel")
LOOK = ("_digest", "_listings", "_read", "_talk")
"""What a host is asked: digests, folders, small files, programs."""
HOSTS = ("edge-1", "web-01", "web-02")
VERSION = ("edge-1", "_run")
"""What a product's binary says, asked on one host of the environment."""


@pytest.fixture
def toys(tmp_path: Path, begin_state: Callable[[Path], Path]) -> Iterator[ManyToys]:
    with InlineStore.open(begin_state(tmp_path / "state"), ModelClock(World(1, 1, {}))) as store:
        yield ManyToys(wiring_of(tmp_path, 1, 2), store)


def watch(toys: ManyToys, monkeypatch: pytest.MonkeyPatch, asked: Callable[[str, str], Awaitable[None]]) -> None:
    """Have `asked` hear of every call of a runner, with host and method, before it is answered."""

    def heard(runner: Runner, host: str, name: str) -> None:
        answer = getattr(runner, name)

        async def call(*words: object) -> object:
            await asked(host, name)
            return await answer(*words)

        monkeypatch.setattr(runner, name, call)

    for host, runner in toys.runners.items():
        for name in CALLS:
            heard(runner, host, name)


def is_as_declared(toys: ManyToys, observed: Observed) -> bool:
    return plan_environment("prod", "d1", toys.site.hosts.values(), observed).is_empty


async def test_an_unchanged_host_is_asked_four_things(toys: ManyToys, monkeypatch: pytest.MonkeyPatch) -> None:
    raise_unless_applied(await toys.apply())
    calls: Counter[tuple[str, str]] = Counter()

    async def asked(host: str, name: str) -> None:
        calls[host, name] += 1

    watch(toys, monkeypatch, asked)
    assert is_as_declared(toys, await observe_site(toys.site))
    assert calls == Counter({VERSION: 1, **dict.fromkeys([(host, name) for host in HOSTS for name in LOOK], 1)})


async def test_all_that_hosts_are_asked_is_asked_at_once(toys: ManyToys, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer comes before the last question was asked."""
    raise_unless_applied(await toys.apply())
    all_asked = asyncio.Barrier(len(HOSTS) * len(LOOK) + 1)

    async def asked(_host: str, _name: str) -> None:
        async with asyncio.timeout(5):
            await all_asked.wait()

    watch(toys, monkeypatch, asked)
    assert is_as_declared(toys, await observe_site(toys.site))
