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
    only: str = ""
    """The environment of which the error is; empty: of each."""

    async def status(self, _context: Context, name: str, _site: Site) -> EnvironmentStatus:
        self.names.append(name)
        if self.error and self.only in ("", name):
            raise self.error
        return EnvironmentStatus(name, (), (SHOP,), (), (), ())


@pytest.fixture
def looks(opened: Context, monkeypatch: pytest.MonkeyPatch) -> Looks:
    for name in ("dev", "prod"):
        opened.site(name)
    made = Looks(Watching(lambda: opened), [])
    monkeypatch.setattr(watching, "environment_status", made.status)
    made.watching._now = lambda: made.now
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


async def test_what_nobody_foresaw_in_one_environment_hides_no_other(looks: Looks, caplog: pytest.LogCaptureFixture) -> None:
    looks.error, looks.only = ValueError("not a row of `show servers state`: hunter2"), "dev"
    for _ in range(2):
        looks.watching.seen()
        await looks.watching.look()
    found = looks.watching.seen()
    assert found["dev"].problem == "dev could not be looked at: something unforeseen happened; it is in the controller's log"
    assert found["prod"].services == (SHOP,)
    (record,) = caplog.records
    assert "see whether `manor status -e dev` says the same" in record.message
    assert record.exc_info is not None


async def test_a_clock_that_is_set_back_makes_nothing_new(opened: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interval is measured by a clock that nobody sets, not by the store's."""
    opened.site("dev")
    monotonic = 5.0
    watch = Watching(lambda: opened, lambda: monotonic)
    monkeypatch.setattr(watching, "environment_status", Looks(watch, []).status)
    await watch.look()
    assert list(watch.seen()) == ["dev"], "the first look comes at once, however short the machine has been up"
    monkeypatch.setattr(opened.store.clock, "now", lambda: 0.0)
    monotonic += OLD_SECONDS + 1.0
    assert watch.seen() == {}
    await watch.look()
    assert list(watch.seen()) == ["dev"]


async def test_an_environment_that_is_not_up_is_not_looked_at(opened: Context) -> None:
    watch = Watching(lambda: opened)
    await asyncio.wait_for(watch.look(), 5.0)
    assert watch.seen() == {}


async def test_the_site_is_worked_out_once(looks: Looks, opened: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await looks.watching._site("prod")
    assert await looks.watching._site("prod") is first
    opened.addressing(opened.environment("dev"))
    assert await looks.watching._site("prod") is first
