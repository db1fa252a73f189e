"""docs/benchmarks.md is what docs/benchmarks.json renders to, and every missed goal has its reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.report import render
from bench.results import FILE, PAGE, ROOT, Report, Result, from_json, to_json
from bench.run import BENCHMARKS

FIELDS = {"name", "value", "unit", "peer", "peer_value", "ratio", "goal", "met"}


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
        assert one.met is not False or one.note, one.name


def test_the_machine_has_neither_name_nor_folders() -> None:
    assert "/" not in "".join(measured().machine.values())
    assert {"cpu", "cores", "memory", "kernel", "date"} <= set(measured().machine)


@pytest.mark.parametrize("file", sorted((ROOT / "bench" / "peers").rglob("*.*")), ids=lambda file: f"{file.parent.name}/{file.name}")
def test_a_peer_names_the_page_of_its_manual(file: Path) -> None:
    assert "https://" in file.read_text() or "http://supervisord.org" in file.read_text()


def test_newer_results_replace_those_of_the_same_benchmark() -> None:
    old = Report({"date": "1"}, (Result("help", "a", 1, "s"), Result("idle", "b", 1, "s")), {"help": 1.0, "idle": 1.0})
    new = old.with_newer(Report({"date": "2"}, (Result("help", "c", 2, "s"),), {"help": 2.0})).in_order(("help", "idle"))
    assert [one.name for one in new.results] == ["c", "b"]
    assert from_json(to_json(new)) == new
