"""What the controller sees is there at once for whoever asks, is seen anew while somebody does, and is forgotten when it is old."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from manor.errors import Unreachable
from manor.reconcile.site import Site
from manor.workflows import watching
from manor.workflows.context import Context
from manor.workflows.status import EnvironmentStatus, ServiceStatus
from manor.workflows.watching import ASKED_SECONDS, OLD_SECONDS, REST_SECONDS, Watching

SHOP = ServiceStatus("shop", "bb68afafe405", (), problem="edge-1 does not answer")


@dataclass
class Looks:
    """Looks that are counted, of two environments that are up."""

    watching: Watching
    names: list[str]
    now: float = 1000.0
    error: BaseException | None = None

    async def status(self, _context: Context, name: str, _site: Site) -> EnvironmentStatus:
        self.names.append(name)
        if self.error:
            raise self.error
        return EnvironmentStatus(name, (), (SHOP,), (), (), ())


@pytest.fixture
def looks(opened: Context, monkeypatch: pytest.MonkeyPatch) -> Looks:
    for name in ("dev", "prod"):
        opened.site(name)
    made = Looks(Watching(lambda: opened), [])
    monkeypatch.setattr(watching, "environment_status", made.status)
    monkeypatch.setattr(Watching, "_now", lambda _: made.now)
    return made


async def test_nothing_was_seen_before_the_first_look(looks: Looks) -> None:
    assert looks.watching.seen() == {}
    await looks.watching.look()
    found = looks.watching.seen()
    assert sorted(found) == ["dev", "prod"]
    assert (found["prod"].services, found["prod"].needs) == ((SHOP,), ("shop: edge-1 does not answer",))


async def test_it_looks_often_only_while_somebody_asks(looks: Looks) -> None:
    await looks.watching.look()
    looks.now += 5.0
    await looks.watching.look()
    assert len(looks.names) == 2, "nobody asked"
    looks.watching.seen()
    await looks.watching.look()
    assert len(looks.names) == 4
    looks.now += ASKED_SECONDS + 1.0
    assert ASKED_SECONDS > REST_SECONDS
    await looks.watching.look()
    assert len(looks.names) == 6, "it rested long enough"


async def test_what_is_old_says_nothing_of_now(looks: Looks) -> None:
    await looks.watching.look()
    looks.now += OLD_SECONDS + 1.0
    assert looks.watching.seen() == {}


@pytest.mark.parametrize("error", [Unreachable("edge-1 is gone"), TimeoutError()])
async def test_a_look_that_fails_says_why(looks: Looks, error: BaseException) -> None:
    looks.error = error
    await looks.watching.look()
    found = looks.watching.seen()["prod"]
    assert found.services == ()
    assert found.problem.startswith("prod could not be looked at")


async def test_an_environment_that_is_not_up_is_not_looked_at(opened: Context) -> None:
    watch = Watching(lambda: opened)
    await asyncio.wait_for(watch.look(), 5.0)
    assert watch.seen() == {}


async def test_the_site_is_worked_out_once(looks: Looks, opened: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await looks.watching._site("prod")
    assert await looks.watching._site("prod") is first
    opened.addressing(opened.environment("dev"))
    assert await looks.watching._site("prod") is first
