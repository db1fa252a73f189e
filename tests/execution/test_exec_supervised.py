"""The wrapper under a real supervisor that is killed and started again: the program never ends, and never runs twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.execution.test_exec import INSTANCE, SCRIPT, wait_until
from tests.execution.test_programs import is_running

pytestmark = pytest.mark.native
SUPERVISORD = Path(sys.executable).with_name("supervisord")


class Supervisor:
    """A supervisord with one program."""

    def __init__(self, folder: Path, script: str) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []
        (folder / "script").write_text(script)
        command = f"sh {SCRIPT} {INSTANCE}:{folder} {folder}/log -- sh {folder}/script"
        (folder / "conf").write_text(
            f"[supervisord]\nnodaemon=true\nlogfile={folder}/supervisord.log\npidfile={folder}/supervisord.pid\n"
            f"[program:shop]\ncommand={command}\nstartsecs=0\nautorestart=true\nstopwaitsecs=5\nredirect_stderr=true\n"
        )

    def start(self) -> subprocess.Popen[bytes]:
        command = [str(SUPERVISORD), "-c", str(self.folder / "conf"), *(["-u", "root"] if os.getuid() == 0 else [])]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        self.started.append(process)
        return process

    def lines(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path, "trap 'echo term; exit' TERM\necho up $$\nwhile :; do echo tick; sleep 0.1; done\n")
    yield made
    for process in made.started:
        if process.poll() is None:
            process.terminate()
            process.wait(15)
    pid = int(made.lines()[0].split()[1])
    if is_running(pid):
        os.kill(pid, signal.SIGKILL)


def test_a_killed_supervisor_is_succeeded_without_a_second_program(supervisor: Supervisor) -> None:
    first = supervisor.start()
    wait_until(lambda: bool(supervisor.lines()))
    pid = int(supervisor.lines()[0].split()[1])
    first.kill()
    first.wait(10)
    ticks = supervisor.lines().count("tick")
    wait_until(lambda: supervisor.lines().count("tick") > ticks + 3)
    second = supervisor.start()
    wait_until(lambda: any("lives already" in line for line in supervisor.lines()))
    time.sleep(0.3)
    assert is_running(pid)
    second.terminate()
    second.wait(15)
    wait_until(lambda: not is_running(pid))
    assert "term" in supervisor.lines()
    assert [line for line in supervisor.lines() if line.startswith("up")] == [f"up {pid}"]
