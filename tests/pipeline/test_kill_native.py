"""The controller is killed between any two points; the next one goes on, and nothing is done twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from manor.pipeline.worker import Worker
from manor.state import runs
from manor.state.releases import Artifact
from manor.state.runs import Run
from manor.state.words import RunState
from tests.pipeline.bench import Bench

ROOT = Path(__file__).parents[2]
PIPELINE = """
    steps:
      build: {run: "echo x >> $MANOR_CACHE/build; sleep 0.2; echo built > out", outputs: out}
      beside: {run: "echo x >> $MANOR_CACHE/beside; sleep 0.2", needs: []}
      pack: {artifact: {include: out}, needs: [build, beside]}
"""
BOUNDARIES = 32


def controller(bench: Bench, fatal: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.pipeline.killed_controller", str(bench.store.folder.path), str(bench.repository), str(fatal)]
    return subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": f"{ROOT}/src:{ROOT}", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=90)


async def go_on_after_a_kill(bench: Bench, fatal: int) -> None:
    bench.pipeline(PIPELINE)
    run = await bench.add()
    killed = controller(bench, fatal)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    delivered: list[str] = []

    async def deliver(_run: Run, artifact: Artifact) -> None:
        delivered.append(artifact.digest)

    await Worker(bench.ports, deliver).finish()
    ended = bench.store.read_now(runs.get, run.id)
    assert ended.state is RunState.PASSED, ended.summary
    cache = bench.store.folder.runs / ".cache" / "warehouse"
    assert [(cache / name).read_text() for name in ("build", "beside")] == ["x\n", "x\n"]
    assert {(name, row.attempt) for name, row in bench.rows(run).items()} == {("build", 1), ("beside", 1), ("pack", 1)}
    before = bench.store.folder.path / "delivered"
    assert {ended.artifact} == {*delivered, *(before.read_text().split() if before.exists() else ())}


@pytest.mark.native
async def test_boundaries_are_all_counted(bench: Bench) -> None:
    bench.pipeline(PIPELINE)
    await bench.add()
    ended = controller(bench, 0)
    assert (ended.stdout, ended.stderr) == (f"{BOUNDARIES}\n", "")


@pytest.mark.native
@pytest.mark.parametrize("fatal", range(1, BOUNDARIES + 1))
async def test_every_boundary(bench: Bench, fatal: int) -> None:
    await go_on_after_a_kill(bench, fatal)
