"""The example's pipeline, from CSV files to a database that is served; needs the wheels that `make setup` fetched."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
import urllib.request
from pathlib import Path

import pytest

from manor.execution.values import HostPath
from manor.rollout.release import SYSTEM_PATH
from manor.state.words import RunState
from tests.pipeline.bench import Bench

pytestmark = pytest.mark.native

ROOT = Path(__file__).parents[2]
WAREHOUSE = ROOT / "examples" / "acme-health" / "warehouse"
WHEELHOUSE = ROOT / ".cache" / "wheelhouse"


@pytest.fixture
def warehouse(bench: Bench) -> Bench:
    if not WHEELHOUSE.is_dir():
        pytest.skip("the wheelhouse is not there; `make setup` fills it")
    shutil.copytree(WAREHOUSE, bench.repository, ignore=shutil.ignore_patterns("__pycache__", "lib", "tools", "reports", "*.db"))
    bench.wheelhouse = HostPath(WHEELHOUSE)
    return bench


async def test_it_is_built_tested_packed_and_served_and_a_second_build_is_the_same(warehouse: Bench, tmp_path: Path) -> None:
    run = await warehouse.go()
    assert run.state is RunState.PASSED, (run.summary, warehouse.states(run))
    tests = warehouse.result(run, "test").tests
    assert tests is not None
    assert (tests.failed, tests.tests) == (0, 8)
    release = tmp_path / "release"
    with tarfile.open(warehouse.store.folder.artifacts / f"{run.artifact}.tar") as tar:
        tar.extractall(release)
    assert b"Acme Health data warehouse, version 1" in served_page(release)

    (warehouse.repository / "metadata.yaml").write_text((WAREHOUSE / "metadata.yaml").read_text().replace("version 1", "version 2"))
    second = await warehouse.go(await warehouse.add(commit="2" * 40))
    assert second.state is RunState.PASSED, second.summary
    assert second.artifact != run.artifact
    reused = {name: bool(warehouse.result(second, name).reused) for name in warehouse.rows(second)}
    assert reused == {"dependencies": True, "tools": True, "build": False, "test": False, "package": False}


def served_page(release: Path) -> bytes:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = f"python3 -m datasette serve --host 127.0.0.1 --port {port} --immutable warehouse.db --metadata metadata.yaml".split()
    environment = {"PATH": SYSTEM_PATH, "PYTHONPATH": "lib", "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(release), "LANG": "C.UTF-8"}
    program = shutil.which(command[0], path=SYSTEM_PATH)
    assert program is not None
    with (release / "log").open("wb") as log:
        process = subprocess.Popen([program, *command[1:]], cwd=release, env=environment, stdout=log, stderr=log)
    try:
        return page(f"http://127.0.0.1:{port}/", process, time.monotonic() + 30)
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(10)


def page(url: str, process: subprocess.Popen[bytes], deadline: float) -> bytes:
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
