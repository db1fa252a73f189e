"""A receipt as it is really written has everything that docs/receipt.md promises; and `manor down` can't spoil it while it is being earned."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from manor.rollout.receipt import parse_receipt, render_json
from manor.rollout.receipt_text import render_text
from manor.state import journal, operations, receipts
from manor.state.store import Store
from tests.e2e.estates import LiveEstate, end, release_of, wait_until
from tests.e2e.killing import Killing, kept
from tests.e2e.watching import processes_of
from tests.rollout.receipt.recorded import RUN, Run, receipt_of
from tests.rollout.receipt.test_recorded import RECORDED

ESTATE = """\
estate: receipts
domain: receipts.example
services:
  echo:
    run: {command: "python3 -m echo --bind {address}:{port} --keep-alive 75", port: 8300, keep_alive: 75s}
    health: {http: /healthz, interval: 500ms, passes: 2}
    routes: [{host: echo}]
    rollout: {min_healthy_time: 100ms, settle: 100ms, drain_timeout: 2s, bake: 1s, instance_deadline: 60s}
traffic: {chain: [{balancer: haproxy}, {web: nginx}]}
environments:
  dev: {}
  prod: {after: dev, promote: by_hand, hosts: {edge: 1, web: 2}}
"""


@pytest.fixture(scope="module")
def estate(make_estate: Callable[[str], LiveEstate], echo: Path, tmp_path_factory: pytest.TempPathFactory) -> LiveEstate:
    """Two environments, with the same release in both."""
    made = make_estate(ESTATE)
    made.up()
    made.run("ship", "echo", "--artifact", str(release_of(echo, tmp_path_factory.mktemp("first") / "0", "0")), "--commit", "c0")
    made.run("promote", "echo", "--to", "prod")
    return made


def record(estate: LiveEstate, operation: str, folder: Path) -> None:
    """Keep an ended rollout as files, without the paths of this machine."""
    state = estate.folder / ".manor" / "state"
    folder.mkdir()
    with Store.open(state) as store:
        row = store.read_now(receipts.find, operation)
        assert row is not None
        receipt = parse_receipt(row.body)
        assert receipt.origin is not None
        found = store.read_now(operations.get, operation)
        run = Run(found, store.read_now(journal.steps, operation), store.read_now(journal.history, operation), receipt.origin, receipt.switch_product)
    (folder / "run.json").write_bytes(RUN.dump_json(run))
    log = next((state / "hosts" / found.environment / "edge-1").rglob("access.json"))
    for source, name in ((log, "access.log"), (state / "probes" / operation / "results.jsonl", "results.jsonl")):
        (folder / name).write_text(source.read_text().replace(str(estate.folder), "/estate"))
    (folder / "receipt.json").write_text(render_json(receipt))
    (folder / "receipt.txt").write_text(render_text(receipt))


def test_a_receipt_has_all_three_columns_and_the_added_latency(estate: LiveEstate, echo: Path, tmp_path: Path, update_golden: bool) -> None:
    estate.run("ship", "echo", "--artifact", str(release_of(echo, tmp_path / "1", "1")), "--commit", "c1", "--to", "dev")
    estate.run("promote", "echo", "--to", "prod")
    operation = kept(estate).operations[0].id
    record(estate, operation, tmp_path / "recorded")
    written = parse_receipt((tmp_path / "recorded" / "receipt.json").read_text())
    probe = written.probe
    assert (written.state, probe.lost, probe.is_whole, written.incomplete) == ("certified", 0, True, ())
    assert probe.added is not None, probe
    assert probe.baseline is not None
    assert probe.baseline.end == min(row.intent_at or 0.0 for row in kept(estate).steps if row.kind in {"place", "start", "admit", "drain"})
    assert "before anything was touched (n = " in estate.run("receipt", operation).stdout
    assert receipt_of(tmp_path / "recorded") == written
    if update_golden:
        shutil.rmtree(RECORDED, ignore_errors=True)
        shutil.copytree(tmp_path / "recorded", RECORDED)


def test_down_while_a_rollout_runs_ends_nothing(estate: LiveEstate, echo: Path, tmp_path: Path) -> None:
    known = len(kept(estate).operations)
    ship = estate.start("ship", "echo", "--artifact", str(release_of(echo, tmp_path / "2", "2")), "--to", "dev")
    try:
        wait_until(lambda: len(kept(estate).operations) > known and any(row.kind == "place" and row.done_at for row in kept(estate).steps), 60, "a rollout")
        for down in [estate.start("down"), estate.start("down", "-e", "dev")]:
            told, _ = down.communicate(timeout=60)
            assert (down.returncode, "dev/echo is held for operation" in told) == (7, True), told
        assert ship.wait(120) == 0, ship.stdout.read() if ship.stdout else ""
    finally:
        end(ship)
    receipt = estate.results("receipt", "echo", "-e", "dev")[-1]["receipt"]
    assert (receipt["state"], receipt["probe"]["lost"], receipt["probe"]["incomplete"]) == ("certified", 0, [])


def test_a_purge_of_one_environment_leaves_the_others_their_state(estate: LiveEstate) -> None:
    refused = estate.run("down", "-e", "dev", "--purge", ok=(2,))
    assert "prod is still up" in refused.stderr
    assert estate.serving("dev")


@pytest.mark.parametrize("point", ["end-probes:after_act", "end-host:after_act", "give-back:after_act"])
def test_a_down_that_was_killed_is_gone_on_with_and_up_brings_all_back(point: str, estate: LiveEstate) -> None:
    before = estate.serving("prod")
    Killing(estate).through(("down", "-e", "prod"), [point])
    ended = kept(estate).operations[0]
    assert (ended.verb, ended.state) == ("down", "done")
    assert not [line for line in processes_of(estate.folder / ".manor" / "state" / "hosts" / "prod").values() if "supervisord" in line]
    estate.run("up")
    wait_until(lambda: estate.serving("prod") == before, 30, "prod as it was")
    assert estate.serving("dev")


def test_up_goes_on_with_a_down_that_was_killed(estate: LiveEstate) -> None:
    before = estate.serving("prod")
    died = Killing(estate).run(("down", "-e", "prod"), "end-host:after_intent")
    assert died.code < 0, died.text
    estate.run("up")
    assert next(one.state for one in kept(estate).operations if one.verb == "down") == "done"
    wait_until(lambda: estate.serving("prod") == before, 30, "prod as it was")


def test_down_ends_all(estate: LiveEstate) -> None:
    """Last here: nothing runs after it."""
    estate.run("down")
    assert processes_of(estate.folder) == {}
