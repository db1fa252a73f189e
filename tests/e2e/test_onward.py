"""A delivery that died in one environment goes on through the others; and what logs lose that are rotated meanwhile, the receipt says."""

from __future__ import annotations

import asyncio
import json
import math
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from manor.estate.layout import short
from manor.observe.probe.results import read_results
from manor.state import operations, releases
from manor.state.store import Store
from manor.state.words import OperationState
from manor.workflows import housekeeping
from manor.workflows.context import open_context
from tests.e2e.estates import LiveEstate, end, release_of
from tests.e2e.killing import KILLED, Killing, kept
from tests.e2e.watching import target, watched

EDGE_SECONDS = 0.1
"""A request so near to the window's beginning or end may be counted or not."""
ROTATED_EVERY_SECONDS = 1.0
LINES_A_CUT = 5
"""What may be written between the copy of a log and its cut."""
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


def test_a_state_is_put_back_onto_hosts_that_run(estate: LiveEstate, echo: Path, tmp_path: Path) -> None:
    """A way back and the next release need all that was remembered; the probe of the test's own sees none of it."""
    for name in ("kept", "newer"):
        estate.run("ship", "echo", "--artifact", str(release_of(echo, tmp_path / name, name)), "--to", "dev")
    before, serving = certified(estate), estate.serving("dev")
    with watched(tmp_path / "watch", [target(estate, estate.front("dev"), "/watched", 25)]) as watcher:
        began = time.time()
        estate.run("state", "backup", str(tmp_path / "state.tar"))
        refused = estate.run("state", "restore", str(tmp_path / "state.tar"), ok=(2,))
        assert "--replace" in refused.stderr
        estate.run("state", "restore", "--replace", str(tmp_path / "state.tar"))
        status = estate.status("dev")
        assert (status["held"], status["unfinished"]) == ([], [])
        assert (certified(estate), estate.serving("dev")) == (before, serving)
        assert "nothing to do" in estate.run("plan").stdout
        estate.run("rollback", "echo", "-e", "dev")
        assert certified(estate)[0] != before[0]
        assert set(estate.serving("dev").values()) == {short(certified(estate)[0])}
        estate.run("ship", "echo", "--artifact", str(release_of(echo, tmp_path / "after", "after")))
        assert watcher.losses(began) == []
    after = certified(estate)
    assert after[0] == after[1] not in before


def rotated_while(estate: LiveEstate, ship: subprocess.Popen[str]) -> list[str]:
    """Rotate the logs while prod's rollout is under way, less often than files are kept; return which of its first tier's."""
    rotated: list[str] = []
    while ship.poll() is None:
        with open_context(estate.folder / "estate.yaml") as context:
            running = context.store.read_now(operations.recent, "prod", None, [OperationState.RUNNING])
            if running and len(rotated) < housekeeping.KEPT_LOGS - 1:
                rotated += [
                    line for line in asyncio.run(housekeeping.rotate_logs(context)) if "/prod/" in line and line.endswith("/access.json") and "/0-" in line
                ]
        time.sleep(ROTATED_EVERY_SECONDS)
    return rotated


@dataclass(frozen=True)
class Counted:
    """What a receipt says of the first tier's requests, and what was really asked."""

    receipt: dict[str, Any]
    rotated: int
    surely: int
    """Requests that lie within the window."""
    perhaps: int
    """These, and those that touch its edges."""

    @property
    def edge(self) -> dict[str, Any]:
        """The counts of the window."""
        counts: dict[str, Any] = self.receipt["edge"]["window"]
        return counts


def rolled_out_and_rotated(estate: LiveEstate, artifact: Path, folder: Path) -> Counted:
    """Ship while requests arrive and logs are rotated; nothing may be lost meanwhile."""
    with watched(folder, [target(estate, estate.front("prod"), "/watched", 100)]) as watcher:
        ship = estate.start("ship", "echo", "--artifact", str(artifact))
        try:
            rotated = rotated_while(estate, ship)
            assert ship.wait(60) == 0, ship.stdout.read() if ship.stdout else ""
        finally:
            end(ship)
        assert watcher.losses(time.time() - 5) == []
    assert len(rotated) >= 2, "nothing was rotated while it went on"
    receipt = estate.results("receipt", "echo", "-e", "prod")[-1]["receipt"]
    probe = read_results(estate.folder / ".manor" / "state" / "probes" / receipt["operation"] / "results.jsonl").outcomes
    asked, (began, ended) = [*watcher.outcomes(0, math.inf), *probe], receipt["window"]
    surely = sum(one.sent >= began + EDGE_SECONDS and one.done < ended - EDGE_SECONDS for one in asked)
    perhaps = sum(one.done >= began - EDGE_SECONDS and one.sent < ended + EDGE_SECONDS for one in asked)
    return Counted(receipt, len(rotated), surely, perhaps)


def test_logs_that_are_renamed_lose_no_line_of_the_receipt(
    make_estate: Callable[[str], LiveEstate], echo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    estate = make_estate(ESTATE.replace("{balancer: haproxy}, ", ""))
    estate.up()
    estate.run("ship", "echo", "--artifact", str(release_of(echo, tmp_path / "0", "0")))
    monkeypatch.setattr(housekeeping, "LARGEST_LOG_BYTES", 1000)
    counted = rolled_out_and_rotated(estate, release_of(echo, tmp_path / "1", "1"), tmp_path / "watch")
    assert (counted.edge["incomplete"], counted.receipt["probe"]["lost"]) == ([], 0)
    assert counted.surely <= counted.edge["total"] <= counted.perhaps, counted


def test_logs_that_are_cut_off_lose_a_few_lines_at_most_and_the_receipt_says_so(
    estate: LiveEstate, echo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "LARGEST_LOG_BYTES", 1000)
    counted = rolled_out_and_rotated(estate, release_of(echo, tmp_path / "3", "3"), tmp_path / "watch")
    log = estate.host_folder("prod", "all-1") / "log" / "0-balancer-haproxy" / "access.json"
    assert (counted.edge["incomplete"], counted.receipt["probe"]["lost"]) == ([f"{log}: cut off since the window began"], 0)
    assert counted.surely - LINES_A_CUT * counted.rotated <= counted.edge["total"] <= counted.perhaps, counted


LONG_WAY = ("dev", "test", "stage", "prod")


def certified_along(estate: LiveEstate) -> list[str]:
    """Return what is certified in each environment of the long way."""
    return [estate.certified(name) for name in LONG_WAY]


def test_one_artifact_goes_through_four_environments(estate: LiveEstate, echo: Path, tmp_path: Path) -> None:
    """Last here: two more environments stand between the others, one of which is entered by hand."""
    text = ESTATE.replace("  prod: {after: dev}", "  test: {after: dev}\n  stage: {after: test, promote: by_hand}\n  prod: {after: stage}")
    estate.write(text.replace("bake: 2s", "bake: 200ms"))
    estate.up()
    former = certified_along(estate)
    artifact = release_of(echo, tmp_path / "long", "long")
    estate.run("ship", "echo", "--artifact", str(artifact), "--commit", "c0ffee1")
    half = certified_along(estate)
    assert half[0] == half[1] != former[0]
    assert half[2:] == former[2:], "nobody let it into stage"
    estate.run("promote", "echo", "--to", "stage")
    estate.run("promote", "echo", "--to", "prod")
    assert certified_along(estate) == [half[0]] * 4
    rollouts = [one for one in reversed(kept(estate).operations) if one.service and json.loads(one.arguments)["release"] == half[0]]
    assert [(one.environment, one.state) for one in rollouts] == [(name, "done") for name in LONG_WAY]
    for one in rollouts:
        receipt = estate.results("receipt", one.id)[0]["receipt"]
        assert (receipt["state"], receipt["release"], receipt["environment"], receipt["probe"]["lost"]) == ("certified", half[0], one.environment, 0)
        assert set(estate.serving(one.environment).values()) == {half[0]}
