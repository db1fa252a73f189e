"""Verbs on a real estate: one host, all four tiers, in addresses of its own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from manor.state import journal, operations
from manor.state.store import Store
from tests.e2e.estates import WHEELS, LiveEstate, build_echo, curl, end, wait_until

pytestmark = pytest.mark.e2e
SERVICE = """\
  {name}:
    run: {{command: "python3 -m echo --bind {{address}}:{{port}} --keep-alive 75", port: {port}, keep_alive: 75s}}
    health: {{http: /healthz, interval: 500ms}}
    routes: [{{host: {name}}}]
    rollout: {{min_healthy_time: 0s, settle: 100ms, drain_timeout: 5s}}
"""
HEAD, TAIL = "estate: verbs-live\nservices:\n", "environments:\n  dev: {}\n"
ECHO, SECOND = SERVICE.format(name="echo", port=8300), SERVICE.format(name="second", port=8320)
NETWORK, FIRST_FRONT = 206, 150


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEstate]:
    """Two services on one host; the addresses come from a file of this test's own."""
    assert WHEELS.is_dir(), "run `make setup`: it fetches the wheels"
    folder = tmp_path_factory.mktemp("live")
    state = folder / "estate" / ".manor" / "state"
    state.mkdir(mode=0o700, parents=True)
    claims = {str(folder): {"network": 199, "fronts": list(range(FIRST_FRONT))}, str(state): {"network": NETWORK, "fronts": []}}
    (folder / "machine").write_text(json.dumps(claims))
    made = LiveEstate(folder / "estate", HEAD + ECHO + SECOND + TAIL, {"MANOR_MACHINE_FILE": str(folder / "machine")})
    artifact = build_echo(folder / "artifact")
    try:
        made.up()
        for service in ("echo", "second"):
            made.run("ship", service, "--artifact", str(artifact))
        yield made
    finally:
        made.write(HEAD + ECHO + SECOND + TAIL)
        made.down()


def ask(estate: LiveEstate, path: str) -> None:
    """Make one request through the front door."""
    host, port = estate.front("dev")
    done = curl(estate, host, port, path)
    assert done.returncode == 0, done.stderr


def records(estate: LiveEstate, path: str) -> list[dict[str, Any]]:
    """Return the records of a path at the first tier."""
    out = estate.run("logs", "echo", "--access", "-n", "500", "--json").stdout
    return [row["record"] for line in out.splitlines() if (row := json.loads(line))["record"]["path"] == path]


def test_help_answers_at_once(estate: LiveEstate) -> None:
    def seconds() -> float:
        began = time.perf_counter()
        estate.run("--help")
        return time.perf_counter() - began

    assert min(seconds() for _ in range(5)) < 0.2


def missing(estate: LiveEstate, ok: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return what the doctor misses, but for what other people's programs have left on this machine."""
    return [row for row in estate.results("doctor", ok=ok) if not row["is_well"] and row["what"] != "left over"]


def test_nothing_is_missing_and_what_is_down_is_said(estate: LiveEstate) -> None:
    assert missing(estate, ok=(0, 1)) == []
    (estate.folder / ".manor" / "state").chmod(0o755)
    found = missing(estate, ok=(1,))
    assert [row["what"] for row in found] == ["state folder"]
    subprocess.run(found[0]["mend"], shell=True, check=True, timeout=10)
    assert missing(estate, ok=(0, 1)) == []


def test_up_does_nothing_twice_and_says_so(estate: LiveEstate) -> None:
    assert "dev: nothing to do; all is as declared" in estate.run("up").stdout
    assert estate.run("plan").stdout.startswith("dev: nothing to do")


def everything(folder: Path) -> dict[str, tuple[int, str]]:
    """Return every file of a state folder with its mode and content, but for what tiers write while they run and SQLite's own."""
    kept = [path for part in ("artifacts", "ca", "estates", "runs") for path in (folder / part).rglob("*")]
    files = [path for path in (*kept, *(folder / "hosts").glob("*/*/etc/**/*"), *(folder / "hosts").glob("*/*/slots/**/*")) if path.is_file()]
    return {str(path): (path.stat().st_mode, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files}


def rows(folder: Path) -> list[str]:
    """Return all that the store holds."""
    with closing(sqlite3.connect(folder / "state.db")) as connection:
        return list(connection.iterdump())


def test_a_dry_run_changes_nothing_and_shows_what_is_then_done(estate: LiveEstate) -> None:
    state, artifact = estate.folder / ".manor" / "state", estate.folder.parent / "dry"
    shutil.copytree(estate.folder.parent / "artifact", artifact)
    (artifact / "VERSION").write_text("dry")
    estate.write(HEAD + ECHO.replace("drain_timeout: 5s", "drain_timeout: 6s") + SECOND.replace("host: second", "host: two") + TAIL)
    before = (everything(state), rows(state), (estate.folder.parent / "machine").read_text())
    verbs = [
        ("apply", "--dry-run"),
        ("up", "--dry-run"),
        ("ship", "echo", "--artifact", str(artifact), "--dry-run"),
        ("service", "restart", "second", "-e", "dev", "--dry-run"),
        ("down", "--dry-run", "--purge"),
    ]
    shown = {words[0]: estate.results(*words) for words in verbs}
    assert (everything(state), rows(state), (estate.folder.parent / "machine").read_text()) == before
    assert "echo-a" in shown["down"][0]["steps"][0]["text"]
    assert all(row["dry_run"] for found in shown.values() for row in found)
    assert not estate.run("rollback", "echo", "-e", "dev", "--dry-run", ok=(2,)).stdout
    estate.run("apply")
    assert taken(estate, "apply") == [steps_of(row) for row in shown["apply"]]
    estate.run("ship", "echo", "--artifact", str(artifact))
    assert taken(estate, "ship") == [steps_of(row) for row in shown["ship"]]
    estate.write(HEAD + ECHO + SECOND + TAIL)
    estate.run("apply")


def steps_of(shown: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the steps of one environment that a dry run showed."""
    return [(step["host"], step["kind"], step["text"]) for step in shown["steps"]]


def taken(estate: LiveEstate, verb: str) -> list[list[tuple[str, str, str]]]:
    """Return the steps of the newest operation of a verb."""
    with Store.open(estate.folder / ".manor" / "state") as store:
        last = next(one for one in store.read_now(operations.recent) if one.verb == verb)
        return [[(row.host, row.kind, row.text) for row in store.read_now(journal.steps, last.id, 0)]]


def test_a_request_is_followed_through_every_tier(estate: LiveEstate) -> None:
    ask(estate, "/traced")
    wait_until(lambda: records(estate, "/traced"), 10, "the first tier's line")
    identifier = records(estate, "/traced")[0]["request_id"]
    wait_until(lambda: len(estate.results("trace", identifier)[0]["hops"]) == 4, 10, "every tier's line")
    hops = estate.results("trace", identifier)[0]["hops"]
    assert [hop["place"] for hop in hops] == [0, 1, 2, 3]
    assert {hop["record"]["slot"] for hop in hops[1:]} <= {"a", "b"}
    assert estate.run("trace", "0" * 32, ok=(1,)).stderr


def test_logs_are_followed_over_a_rotation(estate: LiveEstate) -> None:
    log = estate.host_folder("dev", "all-1") / "log" / "echo-a.log"
    log.write_text("before\n")
    process = estate.start("logs", "echo", "--slot", "a", "--follow", "-n", "1")
    assert process.stdout is not None
    limit = threading.Timer(30.0, process.kill)
    limit.start()
    try:
        assert process.stdout.readline().split()[-1] == "before"
        write(log, "one\n")
        log.rename(log.with_name("echo-a.log.1"))
        write(log.with_name("echo-a.log.1"), "two\n")
        write(log, "three\n")
        assert [process.stdout.readline().split()[-1] for _ in range(3)] == ["one", "two", "three"]
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        limit.cancel()
        end(process)


def write(path: Path, text: str) -> None:
    """Append to a log."""
    with path.open("a") as file:
        file.write(text)


def test_a_restart_is_a_rollout_of_the_same_release(estate: LiveEstate) -> None:
    before = estate.serving("dev")
    done = estate.results("service", "restart", "echo", "-e", "dev")[0]
    after = estate.serving("dev")
    assert (done["lost"], set(before.values())) == (0, set(after.values()))
    assert before.keys() != after.keys()
    assert estate.results("receipt", done["operation"])[0]["receipt"]["probe"]["lost"] == 0


def test_a_service_is_drained_and_removed_before_the_tiers_forget_it(estate: LiveEstate) -> None:
    estate.write(HEAD + ECHO + "removed: {second: 2026-01-01}\n" + TAIL)
    refused = estate.run("apply", "--allow-destroy", ok=(2,)).stderr
    assert "manor service remove second -e dev" in refused
    assert estate.results("service", "remove", "second", "-e", "dev")[0]["changed"]
    assert not (estate.host_folder("dev", "all-1") / "slots" / "second").exists()
    assert not estate.results("service", "remove", "second", "-e", "dev")[0]["changed"]
    assert estate.results("apply", "--allow-destroy")[0]["changed"]
    assert [row["service"] for row in estate.results("service", "list")[0]["services"]] == ["echo"]
    ask(estate, "/after")


def test_the_controller_comes_and_goes_with_the_estate(estate: LiveEstate) -> None:
    with_controller = replace(estate, env={**estate.env, "MANOR_NO_CONTROLLER": ""})
    first, again = (with_controller.results("up")[-1] for _ in range(2))
    assert first["first_admin_token"].startswith("manor_")
    assert again == {"event": "result", "controller": first["controller"]}
    logs = list((estate.folder / ".manor" / "state" / "controller").glob("*/log"))
    assert logs
    assert not [log for log in logs if first["first_admin_token"] in log.read_text()]
    pid = json.loads((estate.folder / ".manor" / "state" / "controller.json").read_text())["pid"]
    estate.run("down")
    assert not Path(f"/proc/{pid}").exists()
    estate.up()
