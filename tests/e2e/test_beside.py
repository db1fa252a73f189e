"""Manor begins with one service beside everything else: in somebody's own HAProxy and nginx, and goes again (docs/ownership.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from manor.observe.probe.model import Target
from tests.e2e.estates import LiveEstate, curl, release_of
from tests.e2e.watching import processes_of, target, watched
from tests.e2e.yours import Yours, yours

ESTATE = """\
estate: beside
domain: beside.example
services:
  echo:
    run: {{command: "python3 -m echo --bind {{address}}:{{port}} --keep-alive 75", port: 8300, keep_alive: 75s}}
    health: {{http: /healthz, interval: 500ms, passes: 2}}
    routes: [{{host: echo}}]
    rollout: {{min_healthy_time: 100ms, settle: 100ms, drain_timeout: 2s, instance_deadline: 60s}}
traffic:
  chain:
    - {{balancer: haproxy, manage: include, into: {folder}/haproxy.d, main: {folder}/haproxy.cfg, pid: {folder}/haproxy.pid, socket: {sockets}/admin.sock}}
    - {{web: nginx, manage: include, into: {folder}/conf.d, main: {folder}/nginx.conf, pid: {folder}/nginx.pid}}
environments:
  prod: {{}}
"""
OWN = {"haproxy.d/zz-manor-beside-prod.cfg", "conf.d/manor-beside-prod.conf"}


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Yours]:
    """Somebody's own programs, running."""
    with yours(tmp_path / "yours") as running:
        running.start("nginx", "haproxy")
        yield running


@pytest.fixture
def estate(theirs: Yours, tmp_path: Path) -> Iterator[LiveEstate]:
    """An estate whose two tiers are parts of them."""
    made = LiveEstate(tmp_path / "estate", ESTATE.format(folder=theirs.folder, sockets=theirs.sockets))
    yield made
    made.down()


def legacy(theirs: Yours) -> Target:
    """Return the requests that their site gets all the time."""
    return Target(name="legacy", address=theirs.address, port=8100, host="legacy.example", rate=60, paths=("/",), tls=False, expected=(200,))


def test_manor_comes_ships_twice_and_goes_and_nobody_notices(theirs: Yours, estate: LiveEstate, echo: Path, tmp_path: Path) -> None:
    before, masters = theirs.hashes(), theirs.pids()
    with watched(tmp_path / "legacy", [legacy(theirs)]) as old_site:
        began = old_site.outcomes(0, float("inf"))[0].due
        estate.run("check")
        assert theirs.hashes() == before
        estate.up()
        assert set(theirs.hashes()) - set(before) == OWN
        estate.run("ship", "echo", "--artifact", str(release_of(echo, tmp_path / "one", "1")), "--commit", "c1")
        door = estate.front("prod")
        with watched(tmp_path / "new", [target(estate, door, "/", 60)]) as new_site:
            first = new_site.outcomes(0, float("inf"))[0].due
            estate.run("ship", "echo", "--artifact", str(release_of(echo, tmp_path / "two", "2")), "--commit", "c2")
            theirs.reload_haproxy()
            assert new_site.losses(first) == [], theirs.log()
        assert curl(estate, *door, "/version").returncode == 0
        assert estate.run("plan", "-e", "prod").returncode == 0
        assert estate.status("prod")["hosts"][0]["problem"] == ""
        estate.run("doctor")
        estate.run("down")
        assert theirs.hashes() == before
        assert old_site.losses(began) == [], theirs.log()
    assert theirs.pids() == masters
    assert processes_of(estate.folder) == {}
