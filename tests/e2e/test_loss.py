"""The receipt can show a loss: the order of removal is broken on purpose, under load, and nothing of it is hidden (docs/receipt.md)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from manor.state import releases
from manor.state.store import Store
from manor.state.words import Standing
from tests.e2e.estates import ROOT, LiveEstate, release_of
from tests.e2e.killing import certified, kept, require_accepted_end

ESTATE = """\
estate: loss
domain: loss.example
services:
  echo:
    run: {command: "python3 -m echo --bind {address}:{port} --keep-alive 75", port: 8300, keep_alive: 75s}
    health: {http: /healthz, interval: 500ms, passes: 2}
    routes: [{host: echo}]
    probe: [{path: /asked, rate: 50}]
    rollout: {min_healthy_time: 100ms, settle: 100ms, drain_timeout: 2s, instance_deadline: 60s}
traffic: {chain: [{balancer: haproxy}, {web: nginx}]}
environments:
  prod: {hosts: {edge: 1, web: 2}}
"""


def test_a_broken_order_is_seen_refused_and_burned(make_estate: Callable[[str], LiveEstate], echo: Path, tmp_path: Path) -> None:
    estate = make_estate(ESTATE)
    estate.up()
    estate.run("ship", "echo", "--artifact", str(release_of(echo, tmp_path / "one", "1")), "--commit", "c1")
    before = certified(estate, "echo")
    words = ["ship", "echo", "--artifact", str(release_of(echo, tmp_path / "two", "2")), "--commit", "c2"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.wrong_order", *words],
        cwd=estate.folder,
        env=estate.environ(PYTHONPATH=f"{ROOT / 'src'}:{ROOT}"),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 5, done.stdout + done.stderr
    operation = kept(estate).operations[0]
    assert operation.state == "reverted"
    receipt = estate.results("receipt", "echo", "-e", "prod")[-1]["receipt"]
    assert receipt["operation"] == operation.id
    assert receipt["probe"]["lost"] > 0
    assert receipt["state"] == "rolled_back"
    assert "lost" in estate.run("receipt", "echo", "-e", "prod").stdout
    failed = json.loads(operation.arguments)["release"]
    with Store.open(estate.folder / ".manor" / "state") as store:
        full = store.read_now(releases.get_release, failed).id
        standing = store.read_now(releases.standing_of, "prod", "echo", full)
    assert standing is not None
    assert standing.standing is Standing.BURNED
    assert "lost" in standing.reason
    assert certified(estate, "echo") == before
    require_accepted_end(estate, "echo", before, 2)
    refused = estate.run(*words, ok=(2,))
    assert "--again" in refused.stdout + refused.stderr
