"""A run, told line by line."""

from __future__ import annotations

from pathlib import Path

from manor.pipeline.log import LogChunk
from manor.state import runs
from manor.state.runs import RunStep
from manor.state.store import Store
from manor.state.words import RunState
from manor.workflows.follow import Lines, follow_run


def test_lines_are_whole_and_say_who_speaks() -> None:
    lines = Lines()
    assert lines.told(LogChunk("build", 1, b"one\ntw")) == ["· build", "one"]
    assert lines.told(LogChunk("build", 1, b"o\r\n")) == ["two"]
    assert lines.told(LogChunk("test", 2, b"\xff?\nhalf")) == ["· test, attempt 2", "\ufffd?"]
    assert lines.told(LogChunk("build", 1, b"three\n")) == ["· build", "three"]
    assert lines.rest() == ["· test, attempt 2", "half"]


async def test_a_run_that_is_over_is_told_at_once(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        run = store.write_now(runs.add_run, "shop", "refs/heads/main", "a" * 40, "ann", 1.0).id
        log = store.folder.runs / run / "build" / "1"
        log.mkdir(parents=True)
        (log / "log").write_text("hello\n")
        store.write_now(runs.put_step, RunStep(run, "build", 1, 0, "k", RunState.PASSED, started_at=1.0, ended_at=3.5, log="build/1/log"))
        store.write_now(runs.set_run, run, RunState.PASSED, at=4.0, summary="41 tests")
        told = [line async for line in follow_run(store, run)]
        assert told == ["· build", "hello", "· build: passed in 2.5 s", f"run {run}: passed · 41 tests"]


async def test_nobody_waits_for_ever_for_a_run_to_begin(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        run = store.write_now(runs.add_run, "shop", "refs/heads/main", "a" * 40, "ann", 1.0).id
        assert "goes on without you" in " ".join([line async for line in follow_run(store, run, longest_wait_seconds=0.0)])
