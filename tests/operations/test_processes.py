"""Several real processes on one state: they take turns, die by SIGKILL, and are succeeded at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from manor.operations.adoption import adopt, find_orphans
from manor.operations.chaos import Point
from manor.operations.engine import execute
from manor.operations.planning import Result, create
from manor.operations.step import Planned
from manor.state.leases import Lease
from manor.state.operations import NewOperation, Operation
from manor.state.store import Store
from manor.state.words import OperationState
from tests.operations.files_world import KINDS, Folder, MakeFile

pytestmark = pytest.mark.native

ROOT = Path(__file__).resolve().parents[2]
POINTS = [Point.BEFORE_INTENT, Point.AFTER_INTENT, Point.AFTER_ACT, Point.AFTER_DONE]


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start one process of ours."""
    search = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return subprocess.Popen(
        [sys.executable, "-m", "tests.operations.one_process", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment, "PYTHONPATH": search},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    both = [start(str(tmp_path / "state"), "count", "100") for _ in range(2)]
    tokens = [int(token) for process in both for token in process.communicate(timeout=60)[0].split()]
    assert sorted(tokens) == list(range(1, 201))


@pytest.mark.parametrize("point", POINTS)
async def test_a_process_killed_in_the_middle_is_succeeded_at_once(tmp_path: Path, point: Point) -> None:
    world = Folder(tmp_path / "world")
    world.path.mkdir()
    with Store.open(tmp_path / "state") as store:
        steps = [Planned(n, MakeFile(host=f"prod-web-{n}")) for n in range(4)]
        operation = await create(store, NewOperation("ship", "prod", "shop"), steps, KINDS)
        crash = {"MANOR_CRASH_AT": f"3:{point}", "MANOR_CRASH_ALLOWED": "1"}
        process = start(str(store.folder.path), "carry-out", operation.id, str(world.path), **crash)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL

        async def carry_out(operation: Operation, lease: Lease) -> Result:
            return await execute(store, operation.id, world, KINDS, lease)

        (orphan,) = await find_orphans(store)
        result = await adopt(store, orphan, carry_out)
        assert (result.operation.state, result.operation.token) == (OperationState.DONE, 2)
        tokens = [(world.path / f"prod-web-{n}").read_text() for n in range(4)]
        assert tokens == ["1", "1", "1" if point in (Point.AFTER_ACT, Point.AFTER_DONE) else "2", "2"]
