"""The demonstration hides no lost request: whatever became of the second push, it prints the receipt and every loss, and exits 1."""

from __future__ import annotations

import itertools
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from manor.observe.probe import Lane, LossKind, Outcome, ProbeConfig, Target
from manor.observe.probe.model import Loss
from manor.observe.probe.results import Recording, ResultsFile, header_line, outcome_line
from manor.rollout.receipt import Receipt, parse_receipt, render_json
from manor.rollout.receipt_text import render_text
from tests.architecture.sources import ROOT

CASES = ROOT / "tests" / "rollout" / "receipt" / "cases"
BEGAN = 1_795_420_545.0
TITLES = ("version 1", "version 2")
CERTIFIED = parse_receipt((CASES / "rolling_nothing_lost" / "receipt.json").read_text())
TURNED_ROUND = parse_receipt((CASES / "rolling_with_losses" / "receipt.json").read_text())
UNPROBED = parse_receipt((CASES / "certified_without_a_probe" / "receipt.json").read_text())
MANY = tuple(Loss("GET /healthz", Lane.KEPT, BEGAN + number, 0.01, 503, LossKind.BAD_STATUS) for number in range(61))


def config() -> ProbeConfig:
    return ProbeConfig(targets=(Target(name="cacheable", address="127.0.0.1", port=8443, host="warehouse.localhost", rate=10.0),))


def outcome(number: int, kind: LossKind | None = None) -> Outcome:
    due = BEGAN + number / 10
    return Outcome(0, Lane.NEW, due, due, due + 0.01, 0 if kind else 200, kind)


def recording(count: int = 100, *, lost: int = 0, ended: bool = True, last_seen: float = BEGAN + 11) -> Recording:
    outcomes = tuple(outcome(number, LossKind.RESET if number < lost else None) for number in range(count))
    return Recording(config(), outcomes, 0, 0, ended, last_seen)


def load(demo: ModuleType, **more: Any) -> Any:
    return demo.load_of(recording(**more), BEGAN + 10)


def test_all_well_is_lost_0_and_exit_code_0(demo: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.conclude(load(demo), CERTIFIED, *TITLES) == 0
    told = capsys.readouterr().out
    assert "s] lost 0\n" in told
    assert "NOT AS IT SHOULD BE" not in told


def test_a_rollout_that_was_turned_round_is_told_with_what_its_probe_lost(demo: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.conclude(load(demo), TURNED_ROUND, "version 1", "version 1") == 1
    told = capsys.readouterr().out
    assert "lost 4, but see below" in told
    assert "the rollout in prod ended rolled back" in told
    assert "the rollout's own probe lost 4 of 920 requests" in told
    assert "prod served 'version 1', and now 'version 1'" in told
    assert told.count("  LOST ") == 4


def test_a_load_that_lost_while_the_rollout_was_certified_exits_1_with_every_loss(demo: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    seen = load(demo, lost=70)
    demo.show_load(seen)
    assert demo.conclude(seen, CERTIFIED, *TITLES) == 1
    told = capsys.readouterr().out
    assert told.count("  LOST ") == 70
    assert "lost 70, but see below" in told
    assert "the load lost 70 of 100 requests" in told


def test_more_than_a_screenful_of_the_probes_losses_is_printed(demo: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    many = replace(TURNED_ROUND, probe=replace(TURNED_ROUND.probe, lost=61, losses=MANY))
    assert demo.conclude(load(demo), many, *TITLES) == 1
    assert capsys.readouterr().out.count("  LOST ") == 61


@pytest.mark.parametrize(
    ("receipt", "told"),
    [
        (None, "the second push led to no rollout"),
        (replace(CERTIFIED, environment="stage", state="rolled_back"), "did not reach prod; it ended in stage"),
        (UNPROBED, "the rollout was not probed"),
        (replace(CERTIFIED, probe=replace(CERTIFIED.probe, is_whole=False, incomplete=("why",))), "did not measure to its end: why"),
    ],
    ids=["no rollout", "not in prod", "not probed", "not whole"],
)
def test_nothing_but_a_probed_and_certified_release_in_prod_is_success(
    demo: ModuleType, capsys: pytest.CaptureFixture[str], receipt: Receipt | None, told: str
) -> None:
    assert demo.conclude(load(demo), receipt, *TITLES) == 1
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("made", "gap"),
    [
        ({"count": 0}, "nothing was sent"),
        ({"ended": False}, "it was not stopped in order"),
        ({"count": 50, "last_seen": BEGAN + 5}, "it ended 5 s before the rollout"),
    ],
    ids=["nothing", "killed", "too early"],
)
def test_a_load_that_did_not_measure_is_no_load_without_losses(demo: ModuleType, capsys: pytest.CaptureFixture[str], made: dict[str, Any], gap: str) -> None:
    seen = load(demo, **made)
    demo.show_load(seen)
    assert demo.conclude(seen, CERTIFIED, *TITLES) == 1
    assert f"NOT MEASURED: {gap}" in capsys.readouterr().out


def test_the_receipt_is_that_of_the_push_wherever_it_came_to(demo: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {"p2": "prod", "s2": "stage", "p1": "prod"}
    monkeypatch.setattr(demo, "receipts_listed", lambda: listed)
    assert demo.newest_since(["p1"]) == "p2"
    assert demo.newest_since(["p1", "p2"]) == "s2"
    assert demo.newest_since(listed) == ""


class Ended:
    """A load's process that has ended."""

    def wait(self, _timeout: float) -> int:
        return 0


class Stage:
    """All that the demonstration starts, played: its verbs say what was recorded."""

    def __init__(self, demo: ModuleType, folder: Path, receipt: Receipt, lost: int = 0, *, push_works: bool = True) -> None:
        self.demo, self.folder, self.receipt, self.lost, self.push_works = demo, folder, receipt, lost, push_works
        self.shown: list[str] = []
        self.pushes = 0

    def start_load(self, _url: str) -> Ended:
        (self.folder / "load.json").write_text(config().model_dump_json())
        file = ResultsFile(self.folder / "load.jsonl")
        file.append(header_line(config(), BEGAN))
        rows = [outcome(number, LossKind.RESET if number < self.lost else None) for number in range(100)]
        file.append(outcome_line(BEGAN + 11, rows, 0, 0, ended=True))
        file.close()
        return Ended()

    def objects(self, verb: str, *words: str) -> list[dict[str, Any]]:
        if verb == "status":
            return [{"services": [{"name": "warehouse", "certified": "0"}]}]
        if verb == "up":
            return [{"event": "result", "environment": "prod", "urls": {"warehouse": "https://warehouse.localhost:8443/"}}]
        if words[0] != "--limit":
            return [{"receipt": json.loads(render_json(self.receipt))}]
        new = [{"operation": "second", "environment": self.receipt.environment}] if self.pushes > 1 else []
        return [{"receipts": [*new, {"operation": "first", "environment": "prod"}]}]

    def run(self, *words: str | Path, must_work: bool = True, **_: Any) -> str:
        self.pushes += "push" in words
        if "push" in words and self.pushes > 1 and not self.push_works and must_work:
            raise SystemExit("the push failed, and with it the demonstration")
        if words[0] == "curl":
            return f"<title>{'version 2' if self.pushes > 1 and self.receipt.state == 'certified' else 'version 1'}</title>"
        if "--all-losses" in words:
            print(render_text(self.receipt, None))
        return ""


def played(demo: ModuleType, monkeypatch: pytest.MonkeyPatch, stage: Stage) -> int:
    """Run the whole demonstration on a stage."""
    for name in ("start_load", "objects", "run"):
        monkeypatch.setattr(demo, name, getattr(stage, name))
    monkeypatch.setattr(demo, "down", lambda **_: 0)
    monkeypatch.setattr(demo, "bring_up", lambda: ("http://127.0.0.1:7080", "token"))
    monkeypatch.setattr(demo, "make_repository", lambda *_: stage.folder)
    monkeypatch.setattr(demo, "change", lambda _tree: None)
    clock = SimpleNamespace(time=lambda: BEGAN + 10, monotonic=itertools.count(demo.BEGAN, 5.0).__next__, sleep=lambda _seconds: None)
    monkeypatch.setattr(demo, "time", clock)
    return int(demo.up())


@pytest.mark.parametrize("push_works", [True, False], ids=["accepted", "refused"])
def test_the_whole_of_it_turned_round(
    demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], push_works: bool
) -> None:
    assert played(demo, monkeypatch, Stage(demo, tmp_path, TURNED_ROUND, lost=60, push_works=push_works)) == 1
    told = capsys.readouterr().out
    assert "100 requests sent, 60 lost" in told
    assert "rolled_back, lost 4 of 920, more than the 0 allowed" in told
    assert "lost 64, but see below" in told
    assert told.count("  LOST ") == 64
    assert "stop and remove everything" in told


def test_the_whole_of_it_without_a_loss(demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert played(demo, monkeypatch, Stage(demo, tmp_path, CERTIFIED)) == 0
    told = capsys.readouterr().out
    assert "certified, lost 0 of 920" in told
    assert "s] lost 0\n" in told


def test_a_load_that_does_not_end_is_ended_and_not_believed(demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck:
        def __init__(self) -> None:
            self.is_killed = False

        def wait(self, timeout: float | None = None) -> int:
            if timeout is not None:
                raise subprocess.TimeoutExpired("probe", timeout)
            return -9

        def kill(self) -> None:
            self.is_killed = True

    (tmp_path / "load.json").write_text(config().model_dump_json())
    stuck = Stuck()
    assert demo.stop_load(stuck).gaps == ("nothing was sent",)
    assert stuck.is_killed
