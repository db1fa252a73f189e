"""A controller that is killed in mid-rollout and stays away: the host's guard has the service served again (docs/rollout.md, marks with guards)."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
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
    run: {command: "python3 -m echo --bind {address}:{port}", port: 8320}
    health: {http: /healthz, interval: 500ms, passes: 2}
    routes: [{host: alone}]
    rollout: {strategy: interrupt, longest_outage: 90s, min_healthy_time: 100ms, settle: 100ms, drain_timeout: 2s, bake: 100ms}
traffic: {chain: [{balancer: haproxy}, {web: nginx}]}
environments: {prod: {}}
"""


@pytest.mark.parametrize("point", ["drain:after_act", "drain:after_done"])
def test_a_drained_service_serves_again_and_whoever_comes_later_goes_on(
    point: str, make_estate: Callable[[str], LiveEstate], echo: Path, tmp_path: Path
) -> None:
    estate = make_estate(ESTATE)
    door = door_of(estate.results("up")[-1]["urls"]["alone"])
    stage = Stage(estate, {"alone": door}, echo, tmp_path, itertools.count())
    before = stage.ready("alone")
    killing = Killing(estate)
    assert killing.run(stage.ship("alone"), point).code == KILLED
    assert "Maintenance" in curl(estate, *door, "/").stdout, "it was drained behind its page"
    assert guards_of(estate)
    limit = time.monotonic() + LIFETIME_SECONDS + 10.0
    while "Maintenance" in curl(estate, *door, "/").stdout:
        assert time.monotonic() < limit, "no guard returned it"
        time.sleep(1.0)
    require_serves(estate, door)
    killing.finish(("resume", "--wait", "5"), (0,))
    assert certified(estate, "alone") != before
    require_accepted_end(estate, "alone", certified(estate, "alone"), 1)
    require_serves(estate, door)
    assert not guards_of(estate)


def guards_of(estate: LiveEstate) -> list[str]:
    """Return the guards that run."""
    return [process.words for process in processes_of(estate.folder) if "guard.py" in process.words]
