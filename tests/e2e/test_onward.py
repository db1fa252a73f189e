"""A delivery that died in one environment goes on through the others; and logs that are rotated meanwhile lose no line of a receipt."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from manor.state import releases
from manor.state.store import Store
from manor.workflows import housekeeping
from manor.workflows.context import open_context
from tests.e2e.estates import LiveEstate, end, release_of
from tests.e2e.killing import KILLED, Killing, kept
from tests.e2e.watching import target, watched

ESTATE = """\
estate: onward
domain: onward.example
services:
  echo:
    run: {command: "python3 -m echo --bind {address}:{port} --keep-alive 75", port: 8300, keep_alive: 75s}
    health: {http: /healthz, interval: 500ms, passes: 2}
    routes: [{host: echo}]
    rollout: {min_healthy_time: 100ms, settle: 100ms, drain_timeout: 2s, bake: 2s, instance_deadline: 60s}
traffic: {chain: [{balancer: haproxy}, {web: nginx}]}
environments:
  dev: {}
  prod: {after: dev}
"""


@pytest.fixture(scope="module")
def estate(make_estate: Callable[[str], LiveEstate], echo: Path, tmp_path_factory: pytest.TempPathFactory) -> LiveEstate:
    """Two environments, with the same release in both."""
    made = make_estate(ESTATE)
    made.up()
    made.run("ship", "echo", "--artifact", str(release_of(echo, tmp_path_factory.mktemp("first") / "0", "0")))
    return made


def certified(estate: LiveEstate) -> tuple[str, str]:
    """Return what is certified in dev and in prod."""
    with Store.open(estate.folder / ".manor" / "state") as store:
        found = [store.read_now(releases.last_certified, name, "echo") for name in ("dev", "prod")]
    return (found[0].id if found[0] else "", found[1].id if found[1] else "")


def test_a_resumed_delivery_goes_on_to_prod(estate: LiveEstate, echo: Path, tmp_path: Path) -> None:
    before = certified(estate)
    words = ("ship", "echo", "--artifact", str(release_of(echo, tmp_path / "1", "1")))
    ended = Killing(estate).through(words, ["drain:after_act", "stop:after_done"])
    after = certified(estate)
    assert after[0] == after[1] != before[0], ended.text[-2000:]


def test_killed_between_two_environments_it_is_shown_and_goes_on(estate: LiveEstate, echo: Path, tmp_path: Path) -> None:
    before = certified(estate)
    words = ("ship", "echo", "--artifact", str(release_of(echo, tmp_path / "between", "between")))
    killing = Killing(estate)
    assert killing.run(words, "delivery-dev:after_done").code == KILLED
    half = certified(estate)
    assert half[0] != before[0]
    assert half[1] == before[1], "it was killed too late"
    told = estate.run("status", "-e", "dev", ok=(0, 1)).stdout
    found = re.search(r"is after dev, open: `manor resume (\S+)`", told)
    assert found, told
    killing.finish(("resume", found[1]), (0,))
    after = certified(estate)
    assert after[0] == after[1] == half[0]
    assert "manor resume" not in estate.run("status", ok=(0, 1)).stdout
    mine = [one for one in kept(estate).operations if one.delivery == found[1]]
    assert [(one.environment, one.state) for one in mine] == [("prod", "done"), ("dev", "done")]


def test_killed_before_the_first_environment_the_next_verb_goes_on(estate: LiveEstate, echo: Path, tmp_path: Path) -> None:
    before = certified(estate)
    left = Killing(estate).run(("ship", "echo", "--artifact", str(release_of(echo, tmp_path / "left", "left"))), "delivery:after_intent")
    assert left.code == KILLED
    assert certified(estate) == before
    estate.run("ship", "echo", "--artifact", str(tmp_path / "left"))
    after = certified(estate)
    assert after[0] == after[1] != before[0]
    assert len([one for one in kept(estate).operations if one.delivery == kept(estate).operations[0].delivery]) == 2


def test_a_resumed_delivery_stops_where_it_was_to_stop(estate: LiveEstate, echo: Path, tmp_path: Path) -> None:
    before = certified(estate)
    words = ("ship", "echo", "--artifact", str(release_of(echo, tmp_path / "2", "2")), "--to", "dev")
    Killing(estate).through(words, ["certify:after_act"])
    after = certified(estate)
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_rotated_logs_lose_no_line_of_the_receipt(estate: LiveEstate, echo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "LARGEST_LOG_BYTES", 1000)
    door = estate.front("prod")
    with watched(tmp_path / "watch", [target(estate, door, "/watched", 100)]) as watcher:
        ship = estate.start("ship", "echo", "--artifact", str(release_of(echo, tmp_path / "3", "3")))
        rotated = []
        try:
            while ship.poll() is None:
                with open_context(estate.folder / "estate.yaml") as context:
                    rotated += [line for line in asyncio.run(housekeeping.rotate_logs(context)) if "/prod/" in line and "balancer" in line]
                time.sleep(1.5)
            assert ship.wait(60) == 0, ship.stdout.read() if ship.stdout else ""
        finally:
            end(ship)
        assert watcher.losses(time.time() - 5) == []
    assert len(rotated) >= 2, "nothing was rotated while it went on"
    receipt = estate.results("receipt", "echo", "-e", "prod")[-1]["receipt"]
    edge, window = receipt["edge"]["window"], receipt["window"]
    asked = len(watcher.outcomes(window[0] + 0.5, window[1] - 0.5))
    assert edge["incomplete"] or edge["total"] >= asked + 0.9 * receipt["probe"]["sent"], json.dumps(edge)
