"""A controller that is killed in mid-rollout and stays away: the host's guard has the service served again (docs/rollout.md, marks with guards).

All estates wait for their guards at the same time: a lease's life is long.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from manor.state.leases import LIFETIME_SECONDS
from tests.e2e.estates import LiveEstate, curl
from tests.e2e.killing import KILLED, Killing, certified, require_accepted_end, require_serves
from tests.e2e.orphans import processes_of
from tests.e2e.test_kills import Stage, door_of

pytestmark = pytest.mark.crash
ESTATE = """\
estate: guards
domain: guards.example
services:
  alone:
    run: {{command: "python3 -m echo --bind {{address}}:{{port}}", port: 8320}}
    health: {{http: /healthz, interval: 500ms, passes: 2}}
    routes: [{{host: alone}}]
    rollout: {{strategy: interrupt, longest_outage: 90s, min_healthy_time: 100ms, settle: 100ms, drain_timeout: 2s, bake: 100ms}}
traffic: {{chain: [{chain}]}}
environments: {{prod: {{}}}}
"""
HAPROXY, TRAEFIK, NGINX = "{balancer: haproxy}, {web: nginx}", "{router: traefik}, {web: nginx}", "{web: nginx}"
CASES = {
    "haproxy-act": (HAPROXY, "drain:after_act", 5),
    "haproxy-done": (HAPROXY, "drain:after_done", 0),
    "traefik": (TRAEFIK, "drain:after_act", 5),
    "nginx": (NGINX, "drain:after_act", 5),
}
"""The product that switches, where the controller is killed, and how it ends: a drain whose deadline has passed meanwhile is turned round."""


@dataclass
class Left:
    """An estate whose controller was killed and stays away."""

    estate: LiveEstate
    door: tuple[str, int]
    killing: Killing
    before: str
    since: float

    @property
    def shows_its_page(self) -> bool:
        return "Maintenance" in curl(self.estate, *self.door, "/").stdout


@pytest.fixture(scope="module")
def left(make_estate: Callable[[str], LiveEstate], echo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Left]:
    """Every case, with its service drained and nobody there."""

    def leave(chain: str, point: str, _: int) -> Left:
        estate = make_estate(ESTATE.format(chain=chain))
        door = door_of(estate.results("up")[-1]["urls"]["alone"])
        stage = Stage(estate, {"alone": door}, echo, tmp_path_factory.mktemp("releases"), itertools.count())
        before, killing = stage.ready("alone"), Killing(estate)
        assert killing.run(stage.ship("alone"), point).code == KILLED
        found = Left(estate, door, killing, before, time.monotonic())
        assert found.shows_its_page, "it was drained behind its page"
        assert guards_of(estate)
        return found

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(CASES, pool.map(lambda case: leave(*case), CASES.values()), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_a_drained_service_serves_again_and_whoever_comes_later_goes_on(left: dict[str, Left], name: str) -> None:
    case = left[name]
    estate, door = case.estate, case.door
    while case.shows_its_page:
        assert time.monotonic() < case.since + LIFETIME_SECONDS + 10.0, "no guard returned it"
        time.sleep(1.0)
    require_serves(estate, door)
    code = CASES[name][2]
    case.killing.finish(("resume", "--wait", "5"), (code,))
    assert (certified(estate, "alone") == case.before) == (code == 5)
    require_accepted_end(estate, "alone", certified(estate, "alone"), 1)
    require_serves(estate, door)
    assert not guards_of(estate)


def guards_of(estate: LiveEstate) -> list[str]:
    """Return the guards that run."""
    return [process.words for process in processes_of(estate.folder) if "guard.py" in process.words]
