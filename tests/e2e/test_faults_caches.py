"""Varnish or Traefik is killed in mid-rollout with no warning: it comes back, and what was lost is bounded and told (docs/faults.md)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.estates import LiveEstate
from tests.e2e.faulty import ESTATE, RATE, Faulty, kill
from tests.e2e.orphans import pids_of

CHAIN = "[{balancer: haproxy}, {cache: varnish}, {router: traefik}, {web: nginx}]"
CACHE, ROUTER = "tier-1-cache-varnish", "tier-2-router-traefik"
SECONDS_TO_COME_BACK = {CACHE: 12.0, ROUTER: 6.0}
"""Varnish has a compiler translate its configuration before it serves."""
CASES = {
    "varnish-manager": (CACHE, 0, "warm", "web-2", (5,)),
    "varnish-child": (CACHE, 1, "drain", "web-1", (0, 5)),
    "traefik-warming": (ROUTER, 0, "warm", "web-2", (5,)),
    "traefik-draining": (ROUTER, 0, "drain", "web-1", (5,)),
}
"""What is killed, at which step on which host, and how the rollout may end; a manager has another child at once."""


@pytest.fixture(scope="module")
def faulty(make_estate: Callable[[str], LiveEstate], echo: Path, tmp_path_factory: pytest.TempPathFactory) -> Faulty:
    """The estate with a cache and a router that switches, and a release that serves."""
    text = ESTATE.replace("[{balancer: haproxy}, {web: nginx}]", CHAIN).replace("drain_timeout: 2s", "drain_timeout: 1s")
    assert CHAIN in text
    return Faulty(make_estate(text), echo, tmp_path_factory.mktemp("releases")).begin()


@pytest.mark.parametrize("name", CASES)
def test_a_killed_inner_tier_comes_back(faulty: Faulty, name: str) -> None:
    program, which, step, host, codes = CASES[name]
    before, folder = faulty.certified, faulty.estate.folder
    with faulty.watched() as watch:
        verb = faulty.start(*faulty.words(name))
        verb.until(step, host=host)
        killed = pids_of(folder, "edge-1", program)[which]
        kill(killed)
        code = verb.finish()
        time.sleep(1)
    seconds = SECONDS_TO_COME_BACK[program]
    watch.require_bounded(int(2 * RATE * seconds), seconds)
    assert code in codes, verb.told()
    assert code == 0 or "was turned round in prod: echo: the probe lost " in verb.told(), verb.told()
    assert code == 0 or f"{before} serves as before" in verb.told()
    assert killed not in pids_of(folder, "edge-1", program)
    faulty.require_well(faulty.estate.certified("prod") if code == 0 else before)
