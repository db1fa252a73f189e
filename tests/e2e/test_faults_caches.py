"""Varnish or Traefik is killed in mid-rollout with no warning: it comes back, and what was lost is bounded and told (docs/faults.md)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.estates import LiveEstate
from tests.e2e.faulty import ESTATE, RATE, Faulty, kill
from tests.e2e.orphans import pids_of

SECONDS_TO_COME_BACK = 6.0
LOST_AT_MOST = int(2 * RATE * SECONDS_TO_COME_BACK)
CHAIN = "[{balancer: haproxy}, {cache: varnish}, {router: traefik}, {web: nginx}]"
CACHE, ROUTER = "tier-1-cache-varnish", "tier-2-router-traefik"


@pytest.fixture(scope="module")
def faulty(make_estate: Callable[[str], LiveEstate], echo: Path, tmp_path_factory: pytest.TempPathFactory) -> Faulty:
    """The estate with a cache and a router that switches, and a release that serves."""
    text = ESTATE.replace("[{balancer: haproxy}, {web: nginx}]", CHAIN)
    assert CHAIN in text
    return Faulty(make_estate(text), echo, tmp_path_factory.mktemp("releases")).begin()


@pytest.mark.parametrize(("program", "which"), [(CACHE, 0), (CACHE, 1), (ROUTER, 0)], ids=["varnish-manager", "varnish-child", "traefik"])
@pytest.mark.parametrize("step", ["warm", "drain"])
def test_a_killed_inner_tier_comes_back(faulty: Faulty, program: str, which: int, step: str) -> None:
    before, folder = faulty.certified, faulty.estate.folder
    with faulty.watched() as watch:
        verb = faulty.start(*faulty.words(f"{program}-{which}-{step}"))
        verb.until(step, "intent", host="web-2" if step == "warm" else "web-1")
        killed = pids_of(folder, "edge-1", program)[which]
        kill(killed)
        code = verb.finish()
        time.sleep(1)
    watch.require_bounded(LOST_AT_MOST, SECONDS_TO_COME_BACK)
    assert code in ((0, 5) if which else (5,)), verb.told()
    assert code == 0 or "was turned round in prod: echo: the probe lost " in verb.told(), verb.told()
    assert code == 0 or f"{before} serves as before" in verb.told()
    assert killed not in pids_of(folder, "edge-1", program)
    faulty.require_well(faulty.estate.certified("prod") if code == 0 else before)
