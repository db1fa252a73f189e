"""Each kind of step of a rollout, of its way back, of an apply and of a removal is killed after its act, on one estate that runs and is asked all the time.

The kinds are told from the journal, so a new kind of step is killed without a new test.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.estates import LiveEstate, curl, release_of, wait_until
from tests.e2e.killing import Killing, certified, kept, require_accepted_end, require_serves
from tests.e2e.watching import processes_of, target, watched

TURN = """\
  turn:
    run: {{command: "python3 -m echo --bind {{address}}:{{port}} --keep-alive 75", port: 8310, keep_alive: 75s}}
    health: {{http: /healthz, interval: 500ms, passes: 2}}
    routes: [{{host: turn}}]
    rollout: {{strategy: in_turn, min_healthy: 50%, min_healthy_time: 100ms, settle: 100ms, drain_timeout: 2s, bake: 100ms, instance_deadline: 60s}}
"""
ESTATE = (
    """\
estate: kills
domain: kills.example
services:
  echo:
    run: {{command: "python3 -m echo --bind {{address}}:{{port}} --keep-alive 75", port: 8300, keep_alive: 75s}}
    health: {{http: /healthz, interval: {interval}, passes: 2}}
    routes: [{{host: echo}}]
    rollout: {{min_healthy_time: 100ms, settle: 100ms, drain_timeout: 2s, bake: 100ms, instance_deadline: 60s}}
"""
    + TURN
    + """\
  alone:
    run: {{command: "python3 -m echo --bind {{address}}:{{port}} --keep-alive 75", port: 8320, keep_alive: 75s}}
    place: {{on: solo}}
    health: {{http: /healthz, interval: 500ms, passes: 2}}
    routes: [{{host: alone}}]
    rollout: {{strategy: interrupt, longest_outage: 60s, min_healthy_time: 100ms, settle: 100ms, drain_timeout: 2s, bake: 100ms, instance_deadline: 60s}}
traffic: {{chain: [{{balancer: haproxy}}, {{web: nginx}}]}}
environments:
  prod:
    hosts:
      edge-1: {{groups: [edge]}}
      web-1: {{groups: [web]}}
      web-2: {{groups: [web, solo]}}
"""
)
GIVEN_UP = ESTATE.replace(TURN, "") + "removed: {{turn: 2026-01-01}}\n"
"""Without `turn`."""
INSTANCES = {"echo": 2, "turn": 2, "alone": 1}
LOSES_NOTHING = {"echo", "turn"}
POINTS = ("after_intent", "after_act", "after_done")
BROKEN = """
import os
if os.environ["MANOR_HOST"] == "web-2":
    raise SystemExit("this release does not start here")
"""


@dataclass
class Stage:
    """The estate, and what is shipped to it."""

    estate: LiveEstate
    doors: dict[str, tuple[str, int]]
    echo: Path
    folder: Path
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    shipped: set[str] = field(default_factory=set)

    def ship(self, service: str, *, fails: bool = False) -> tuple[str, ...]:
        """Return the words that ship another release; one that fails does not start on the last host."""
        number = next(self.numbers)
        artifact = release_of(self.echo, self.folder / f"release-{number}", str(number))
        if fails:
            code = artifact / "echo.py"
            code.write_text(code.read_text().replace("import argparse", BROKEN + "import argparse", 1))
        return ("ship", service, "--artifact", str(artifact), "--commit", f"c{number:07d}")

    def ready(self, service: str) -> str:
        """Have a certified release of a service, and return it."""
        if service not in self.shipped:
            self.estate.run(*self.ship(service))
            self.shipped.add(service)
        return certified(self.estate, service)

    @property
    def programs(self) -> int:
        """Return how many programs of services run when nothing goes on."""
        return sum(INSTANCES[name] for name in self.shipped)


@pytest.fixture(scope="module")
def stage(make_estate: Callable[[str], LiveEstate], echo: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The estate, up."""
    estate = make_estate(ESTATE.format(interval="500ms"))
    urls = estate.results("up")[-1]["urls"]
    return Stage(estate, {name: door_of(url) for name, url in urls.items()}, echo, tmp_path_factory.mktemp("releases"))


def door_of(url: str) -> tuple[str, int]:
    """Return the host and port of a front door."""
    host, _, port = url.removeprefix("https://").rstrip("/").partition(":")
    return host, int(port.split("/")[0])


def kill_and_hold(stage: Stage, service: str, tmp_path: Path, kill: Callable[[Killing, tuple[str, ...]], None], *, fails: bool = False) -> None:
    """Ship under the test's own probe, killed as `kill` says, and hold an accepted end with nothing lost."""
    before = stage.ready(service)
    with watched(tmp_path, [target(stage.estate, stage.doors[service], "/watched", 25)]) as watcher:
        began = time.time()
        kill(Killing(stage.estate), stage.ship(service, fails=fails))
        lost = watcher.losses(began)
    after = certified(stage.estate, service)
    assert (after == before) == fails
    require_accepted_end(stage.estate, service, after, stage.programs)
    require_serves(stage.estate, stage.doors[service])
    if service in LOSES_NOTHING:
        assert lost == []


def test_a_rollout_is_killed_at_each_kind_of_step(stage: Stage, tmp_path: Path) -> None:
    def kill(killing: Killing, words: tuple[str, ...]) -> None:
        killing.at_each_kind(words)
        assert {"preflight", "start-probe", "place", "start", "warm", "admit", "drain", "stop", "bake", "stop-probe", "certify"} <= set(killing.killed)

    kill_and_hold(stage, "echo", tmp_path, kill)


def test_the_way_back_is_killed_at_each_kind_of_step(stage: Stage, tmp_path: Path) -> None:
    def kill(killing: Killing, words: tuple[str, ...]) -> None:
        killing.at_each_kind(words, plan=1, ok=(5,))
        assert {"start", "warm", "admit", "drain", "stop"} <= set(killing.killed)

    kill_and_hold(stage, "echo", tmp_path, kill, fails=True)


def test_what_has_one_slot_is_killed_at_each_kind_of_step(stage: Stage, tmp_path: Path) -> None:
    def kill(killing: Killing, words: tuple[str, ...]) -> None:
        killing.at_each_kind(words)
        assert {"place", "start", "warm", "admit", "drain", "stop", "certify"} <= set(killing.killed)

    kill_and_hold(stage, "turn", tmp_path, kill)


def test_the_way_back_of_a_first_release_is_killed_before_nothing_serves(stage: Stage) -> None:
    """Before the singleton has a release that is certified."""
    assert "alone" not in stage.shipped
    Killing(stage.estate).through(stage.ship("alone", fails=True), ["withdraw:after_act"], ok=(5,))
    assert certified(stage.estate, "alone") == ""
    assert kept(stage.estate).held == ()
    assert [row.kind for row in kept(stage.estate).steps if row.plan and row.kind in {"withdraw", "burn", "conclude"}] == ["withdraw", "burn", "conclude"]
    assert stage.estate.serving("prod", "alone") == {}
    assert curl(stage.estate, *stage.doors["alone"], "/", "-o", "/dev/null", "-w", "%{http_code}").stdout == "503"
    assert not [words for words in processes_of(stage.estate.folder).values() if ":8320" in words]


BEHIND_ITS_PAGE = ("maintenance", "drain", "stop", "place", "start", "warm", "admit", "maintenance")
"""The last one ends the page."""


def test_a_singleton_is_killed_behind_its_maintenance_page(stage: Stage, tmp_path: Path) -> None:
    def kill(killing: Killing, words: tuple[str, ...]) -> None:
        killing.through(words, [f"{kind}:after_act" for kind in BEHIND_ITS_PAGE])

    kill_and_hold(stage, "alone", tmp_path, kill)


def test_a_removal_is_killed_at_each_kind_of_step(stage: Stage, tmp_path: Path) -> None:
    removed_and_held(stage, tmp_path, "after_act")


def removed_and_held(stage: Stage, tmp_path: Path, point: str) -> None:
    """Remove a service, killed at each kind of step; nothing of it stays, and the one beside it does not notice."""
    before = stage.ready("echo")
    stage.ready("turn")
    stage.estate.write(GIVEN_UP.format(interval="500ms"))
    with watched(tmp_path, [target(stage.estate, stage.doors["echo"], "/watched", 25)]) as watcher:
        began, killing = time.time(), Killing(stage.estate)
        killing.at_each_kind(("service", "remove", "turn", "-e", "prod"), point=point)
        assert killing.killed == ["drain", "stop", "forget"]
        stage.shipped.remove("turn")
        assert not [host for host in ("web-1", "web-2") if (stage.estate.host_folder("prod", host) / "slots" / "turn").exists()]
        assert not stage.estate.results("service", "remove", "turn", "-e", "prod")[0]["changed"]
        stage.estate.run("apply", "--allow-destroy")
        require_accepted_end(stage.estate, "echo", before, stage.programs)
        stage.estate.write(ESTATE.format(interval="500ms"))
        stage.estate.run("apply")
        assert watcher.losses(began) == []


def test_an_apply_is_killed_at_each_kind_of_step(stage: Stage, tmp_path: Path) -> None:
    applied_and_held(stage, tmp_path, "after_act", "700ms")


def applied_and_held(stage: Stage, tmp_path: Path, point: str, interval: str) -> None:
    """Apply what changes every tier, killed at each kind of step; it is done in the end, and nothing is lost meanwhile."""
    before = stage.ready("echo")
    with watched(tmp_path, [target(stage.estate, stage.doors["echo"], "/watched", 25)]) as watcher:
        began, killing = time.time(), Killing(stage.estate)
        stage.estate.write(ESTATE.format(interval=interval))
        killing.at_each_kind(("apply",), point=point)
        lost = watcher.losses(began)
    assert {"fence", "prepare", "check", "change", "supervise"} <= set(killing.killed)
    assert stage.estate.run("plan").returncode == 0, "something of the apply was left undone"
    assert kept(stage.estate).held == ()
    require_accepted_end(stage.estate, "echo", before, stage.programs)
    assert lost == []


def test_bringing_up_is_killed_at_each_kind_of_step(tmp_path: Path, make_estate: Callable[[str], LiveEstate]) -> None:
    estate = make_estate(
        "estate: first\ndomain: first.example\ntraffic: {chain: [{balancer: haproxy}, {web: nginx}]}\nservices:\n" + STATIC + "environments: {prod: {}}\n"
    )
    killing = Killing(estate)
    killing.at_each_kind(("apply",))
    assert {"fence", "prepare", "check", "change", "supervise", "verify"} <= set(killing.killed)
    status = estate.status("prod")
    assert all(host["running"] and not host["not_running"] and not host["problem"] for host in status["hosts"]), status
    supervisors = [words for words in processes_of(estate.folder).values() if "supervisord" in words]
    assert len(supervisors) == 1, supervisors


STATIC = """\
  pages:
    profile: static
    port: 8340
    health: {http: /index.html}
    routes: [{host: pages}]
    static: [{path: /, dir: public}]
"""


@pytest.mark.crash
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("fails", [False, True], ids=["good", "failing"])
@pytest.mark.parametrize("service", INSTANCES)
def test_the_full_matrix(stage: Stage, tmp_path: Path, service: str, fails: bool, point: str) -> None:
    def kill(killing: Killing, words: tuple[str, ...]) -> None:
        killing.at_each_kind(words, plan=int(fails), point=point, ok=(5,) if fails else (0,))
        assert {"place", "start", "warm", "admit"} <= set(killing.killed) or fails

    kill_and_hold(stage, service, tmp_path, kill, fails=fails)


@pytest.mark.crash
@pytest.mark.parametrize("point", POINTS)
def test_the_full_matrix_of_an_apply(stage: Stage, tmp_path: Path, point: str) -> None:
    applied_and_held(stage, tmp_path, point, f"{600 + 100 * POINTS.index(point)}ms")


@pytest.mark.crash
@pytest.mark.parametrize("point", POINTS)
def test_the_full_matrix_of_a_removal(stage: Stage, tmp_path: Path, point: str) -> None:
    removed_and_held(stage, tmp_path, point)


@pytest.mark.crash
@pytest.mark.parametrize("point", POINTS)
def test_the_full_matrix_of_a_down(stage: Stage, point: str) -> None:
    """All of it ends, and the next `up` brings back what served."""
    before = stage.ready("echo")
    killing = Killing(stage.estate)
    killing.at_each_kind(("down", "-e", "prod"), point=point)
    assert {"end-probes", "end-host", "give-back"} <= set(killing.killed)
    assert (kept(stage.estate).operations[0].verb, kept(stage.estate).operations[0].state, kept(stage.estate).held) == ("down", "done", ())
    assert processes_of(stage.estate.folder) == {}
    stage.doors = {name: door_of(url) for name, url in stage.estate.results("up")[-1]["urls"].items()}
    wait_until(lambda: set(stage.estate.serving("prod").values()) == {before}, 30, "what served before")
    require_accepted_end(stage.estate, "echo", before, stage.programs)
