"""docs/benchmarks.md is what docs/benchmarks.json renders to, and every missed goal has its reason."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.report import render
from bench.results import FILE, PAGE, ROOT, Measured, Report, Result, from_json, to_json
from bench.run import BENCHMARKS

FIELDS = {"name", "value", "unit", "peer", "peer_value", "ratio", "goal", "met", "note", "reason"}
HERE = {"cpu": "one", "cores": "2"}
OLD = Report((Result("help", "a", 1, "s"), Result("idle", "b", 1, "s")), (Measured("2026-01-02 10:00", HERE, {"help": 60.0, "idle": 240.0}),))


def newer(machine: dict[str, str] | None = None, began: str = "2026-03-04 11:00") -> Report:
    """The benchmark `help`, measured later."""
    again = Report((Result("help", "c", 2, "s"),), (Measured(began, machine or HERE, {"help": 120.0}),))
    return OLD.with_newer(again).in_order(("help", "idle"))


def measured() -> Report:
    return from_json(FILE.read_text())


def test_the_page_is_what_the_numbers_render_to() -> None:
    assert PAGE.read_text() == render(measured()), "run `.venv/bin/python -m bench.run --render`"


def test_every_result_has_every_field_and_says_where_it_comes_from() -> None:
    assert all(set(row) >= FIELDS for row in json.loads(FILE.read_text())["results"])
    assert {one.benchmark for one in measured().results} <= set(BENCHMARKS)


def test_a_goal_is_met_or_missed_and_a_missed_one_has_its_reason() -> None:
    for one in measured().results:
        assert bool(one.goal) == (one.met is not None), one.name
        assert bool(one.reason.strip()) == (one.met is False), f"{one.name}: a goal that is missed has its reason, and no other"


def test_the_reason_of_a_missed_goal_is_on_the_page() -> None:
    missed = Result("help", "slow", 9, "s", goal="< 1 s", met=False, note="Median of 3.", reason="Python starts slowly.")
    assert "- **slow**: Python starts slowly. Median of 3.\n" in render(Report((missed,), OLD.runs))


def test_every_result_was_measured_in_one_run() -> None:
    names = [name for run in measured().runs for name in run.seconds]
    assert len(names) == len(set(names))
    assert {one.benchmark for one in measured().results} == set(names)


def test_the_machine_has_neither_name_nor_folders() -> None:
    for run in measured().runs:
        assert "/" not in "".join(run.machine.values())
        assert {"cpu", "cores", "memory", "kernel"} <= set(run.machine)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d( \d\d:\d\d)?", run.began)


@pytest.mark.parametrize("file", sorted((ROOT / "bench" / "peers").rglob("*.*")), ids=lambda file: f"{file.parent.name}/{file.name}")
def test_a_peer_names_the_page_of_its_manual(file: Path) -> None:
    assert "https://" in file.read_text() or "http://supervisord.org" in file.read_text()


def test_newer_results_replace_those_of_the_same_benchmark() -> None:
    new = newer()
    assert [one.name for one in new.results] == ["c", "b"]
    assert from_json(to_json(new)) == new


def test_what_is_not_measured_anew_keeps_its_date_and_machine() -> None:
    other = {"cpu": "two", "cores": "8", "kernel": "7"}
    new = newer(other)
    assert new.dates == {"idle": "2026-01-02", "help": "2026-03-04"}
    assert [(run.machine, run.seconds) for run in new.runs] == [(HERE, {"idle": 240.0}), (other, {"help": 120.0})]
    page = render(new)
    assert "| what | value | peer | peer's value | ratio | goal | met | measured |\n" in page
    assert "| c | 2 s |  |  |  |  |  | 2026-03-04 |\n| b | 1 s |  |  |  |  |  | 2026-01-02 |\n" in page
    assert "|  | idle | help |\n|---|---|---|\n| date | 2026-01-02 | 2026-03-04 |\n| cpu | one | two |\n| cores | 2 | 8 |\n| kernel |  | 7 |\n" in page


def test_no_run_is_said_to_have_taken_the_time_of_several() -> None:
    page = render(newer())
    assert "whole run" not in page
    assert "- 2026-01-02 10:00: idle 240 s\n- 2026-03-04 11:00: help 120 s\n" in page
    assert "| date | 2026-01-02 to 2026-03-04 |\n" in page
    assert "The whole run took 5 minutes." in render(OLD)
    assert "| measured |" not in render(OLD)


def test_two_runs_of_one_day_are_two() -> None:
    page = render(newer(began="2026-01-02 12:00"))
    assert "whole run" not in page
    assert "| measured |" not in page
    assert "| date | 2026-01-02 |\n" in page


def test_a_run_whose_benchmarks_are_all_measured_anew_is_forgotten() -> None:
    again = Report((), (Measured("2026-03-04 11:00", HERE, {"help": 1.0, "idle": 1.0}),))
    assert OLD.with_newer(again).runs == again.runs
