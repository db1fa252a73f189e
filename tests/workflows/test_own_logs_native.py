"""The controller's own log does not grow for ever, and a program that writes it meanwhile goes on writing it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.execution.values import Command, Detached, HostPath
from manor.workflows import housekeeping
from manor.workflows.context import Context
from manor.workflows.housekeeping import KEPT_LOGS, own_folder, rotate_own_logs

pytestmark = pytest.mark.native
LINES = 'i=0; while [ "$i" -lt 3000 ]; do echo "line $i"; i=$((i + 1)); sleep 0.01; done'
LARGEST = 200


async def until(holds: object, seconds: float = 10.0) -> None:
    """Wait until something holds."""
    for _ in range(int(seconds / 0.02)):
        if holds():  # type: ignore[operator]
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never held")


async def test_it_is_rotated_while_it_is_written(opened: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "LARGEST_LOG_BYTES", LARGEST)
    runner = LocalRunner("controller", Guard("controller"))
    step = Detached("controller-one", HostPath(own_folder(opened) / "one"), Command(("/bin/sh", "-c", LINES)), timeout_seconds=60)
    await runner.start(step)
    log = Path(step.folder) / "log"
    try:
        for _ in range(KEPT_LOGS + 2):
            await until(lambda: log.exists() and log.stat().st_size > LARGEST)
            assert await rotate_own_logs(opened, runner) == [f"controller: rotated {log}"]
        monkeypatch.setattr(housekeeping, "LARGEST_LOG_BYTES", 1_000_000)
        assert await rotate_own_logs(opened, runner) == []
    finally:
        await runner.cancel(step)
    kept = sorted(path.name for path in log.parent.glob("log.*"))
    assert kept == [f"log.{n}" for n in range(1, KEPT_LOGS + 1)]
    newest, older = ((log.parent / f"log.{n}").read_text().split() for n in (1, 2))
    assert int(older[-1]) < int(newest[1]), "a line is in two files"


async def test_folders_of_starts_long_ago_go_and_that_of_a_living_one_stays(opened: Context) -> None:
    runner = LocalRunner("controller", Guard("controller"))
    step = Detached("controller-a", HostPath(own_folder(opened) / "a"), Command(("sleep", "60")), timeout_seconds=60)
    await runner.start(step)
    try:
        for name in "bcdefgh":
            (own_folder(opened) / name).mkdir()
        await rotate_own_logs(opened, runner)
        assert sorted(path.name for path in own_folder(opened).iterdir()) == ["a", "d", "e", "f", "g", "h"]
    finally:
        await runner.cancel(step)
