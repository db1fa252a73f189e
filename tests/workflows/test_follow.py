"""A run's log, told piece by piece."""

from __future__ import annotations

from pathlib import Path

from manor.state.runs import RunStep
from manor.state.words import RunState
from manor.workflows.follow import Position, grown, news

KEY = ("build", 1)


def test_only_whole_lines_until_the_end(tmp_path: Path) -> None:
    log, position = tmp_path / "log", Position()
    assert grown(log, KEY, position, is_over=False) == []
    log.write_text("one\ntw")
    assert grown(log, KEY, position, is_over=False) == ["one"]
    log.write_text("one\ntwo\nthree")
    assert grown(log, KEY, position, is_over=False) == ["two"]
    assert grown(log, KEY, position, is_over=True) == ["three"]
    assert grown(log, KEY, position, is_over=True) == []


def test_a_line_longer_than_a_piece(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("x" * 200_000 + "\nend\n")
    assert "".join(grown(tmp_path / "log", KEY, Position(), is_over=False)) == "x" * 200_000 + "end"


def test_steps_begin_and_end_once(tmp_path: Path) -> None:
    (tmp_path / "build.log").write_text("hello\n")
    position = Position()
    running = RunStep("r", "build", 1, 0, "k", RunState.RUNNING, started_at=1.0, log="build.log")
    passed = RunStep("r", "build", 1, 0, "k", RunState.PASSED, started_at=1.0, ended_at=3.5, log="build.log")
    assert news([running], position, tmp_path, is_over=False) == ["· build", "hello"]
    assert news([running], position, tmp_path, is_over=False) == []
    assert news([passed], position, tmp_path, is_over=False) == ["· build: passed in 2.5 s"]
    assert news([passed], position, tmp_path, is_over=True) == []
