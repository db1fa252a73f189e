"""The wrapper ends what lives on without a supervisor, and comes back for what is still wanted."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.execution.test_exec import INSTANCE, SCRIPT, Wrappers, wait_until
from tests.execution.test_programs import is_running

pytestmark = pytest.mark.native
PROGRAM = "echo up; while :; do sleep 0.05; done"
DEAF = "trap '' TERM; echo up; while :; do sleep 0.05; done"


@pytest.fixture
def wrappers(tmp_path: Path) -> Iterator[Wrappers]:
    made = Wrappers(tmp_path)
    yield made
    made.end_all()


def end(wrappers: Wrappers, within: str = "5") -> int:
    command = ["sh", str(SCRIPT), f"{INSTANCE}:{wrappers.folder}", str(wrappers.log), "--end", "TERM", "--within", within, "--"]
    return subprocess.run(command, timeout=20, check=False).returncode


def test_nothing_is_to_be_ended(wrappers: Wrappers) -> None:
    assert end(wrappers) == 0
    assert wrappers.lines() == []


@pytest.mark.parametrize(("script", "within", "words"), [(PROGRAM, "5", ["it gets TERM"]), (DEAF, "0", ["it gets TERM", "it gets KILL"])])
def test_what_lives_is_ended(wrappers: Wrappers, script: str, within: str, words: list[str]) -> None:
    program = wrappers.start(script)
    wait_until(lambda: "up" in wrappers.lines())
    assert end(wrappers, within) == 0
    assert program.wait(5) == (-signal.SIGTERM if script == PROGRAM else -signal.SIGKILL)
    assert [line.rpartition("; ")[2] for line in wrappers.lines() if "still lives" in line] == words


def test_what_a_killed_wrapper_left_is_ended(wrappers: Wrappers) -> None:
    program = wrappers.start(PROGRAM)
    wait_until(lambda: "up" in wrappers.lines())
    waiting = wrappers.start(PROGRAM)
    wait_until(lambda: any("lives already" in line for line in wrappers.lines()))
    waiting.kill()
    waiting.wait(5)
    assert is_running(program.pid)
    assert end(wrappers) == 0
    program.wait(5)


def test_a_waiting_wrapper_fails_when_what_it_waited_for_is_still_wanted(wrappers: Wrappers, tmp_path: Path) -> None:
    wanted = tmp_path / "wanted"
    wanted.touch()
    program = wrappers.start(PROGRAM, "--wanted", str(wanted))
    wait_until(lambda: "up" in wrappers.lines())
    waiting = wrappers.start(PROGRAM, "--wanted", str(wanted))
    wait_until(lambda: any("lives already" in line for line in wrappers.lines()))
    program.kill()
    program.wait(5)
    assert waiting.wait(5) == 75


def test_a_waiting_wrapper_ends_well_when_nobody_wants_it_any_more(wrappers: Wrappers, tmp_path: Path) -> None:
    wanted = tmp_path / "wanted"
    wanted.touch()
    program = wrappers.start(PROGRAM, "--wanted", str(wanted))
    wait_until(lambda: "up" in wrappers.lines())
    waiting = wrappers.start(PROGRAM, "--wanted", str(wanted))
    wait_until(lambda: any("lives already" in line for line in wrappers.lines()))
    wanted.unlink()
    program.kill()
    program.wait(5)
    assert waiting.wait(5) == 0


HEADED = "echo up; (trap 'exit 0' TERM; echo worker; while :; do sleep 0.05; done) & wait"


@pytest.mark.parametrize(("options", "is_ended"), [((), False), (("--headless", "TERM"), True)])
def test_workers_without_their_master_make_way(wrappers: Wrappers, options: tuple[str, ...], is_ended: bool) -> None:
    program = wrappers.start(HEADED)
    wait_until(lambda: "worker" in wrappers.lines())
    program.kill()
    program.wait(5)
    waiting = wrappers.start("echo second", *options)
    wait_until(lambda: any("lives already" in line for line in wrappers.lines()))
    if is_ended:
        assert waiting.wait(5) == 0
        assert any("its first process was killed; what is left of it gets TERM" in line for line in wrappers.lines())
    else:
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.5)
    assert end(wrappers) == 0


def test_workers_make_way_when_their_master_is_killed_under_a_waiting_wrapper(wrappers: Wrappers) -> None:
    program = wrappers.start(HEADED)
    wait_until(lambda: "worker" in wrappers.lines())
    waiting = wrappers.start("echo second", "--headless", "TERM")
    wait_until(lambda: any("lives already" in line for line in wrappers.lines()))
    assert waiting.poll() is None
    program.kill()
    program.wait(5)
    assert waiting.wait(5) == 0
