"""The wrapper that starts programs, with real processes: one of an instance at a time, whatever was killed before."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from manor.execution import detached
from tests.execution.test_programs import is_running

pytestmark = pytest.mark.native
SCRIPT = detached.SCRIPT.with_name("exec.sh")
INSTANCE = "shop@web-1#0/a"


def wait_until(condition: Callable[[], bool], limit_seconds: float = 10.0) -> None:
    deadline = time.monotonic() + limit_seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@dataclass
class Wrappers:
    """Starts wrappers as a supervisor does (each the leader of a group), and ends what a test left."""

    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self, script: str | Sequence[str], *options: str, instance: str = INSTANCE, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        words = ["sh", "-c", script] if isinstance(script, str) else list(script)
        command = ["sh", str(SCRIPT), f"{instance}:{self.folder}", str(self.log), *options, "--", *words]
        process = subprocess.Popen(command, process_group=0, env=env, stdin=subprocess.DEVNULL)
        self.started.append(process)
        return process

    def run(self, script: str | Sequence[str], *options: str, env: dict[str, str] | None = None) -> int:
        return self.start(script, *options, env=env).wait(20)

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def end_all(self) -> None:
        for process in self.started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


@pytest.fixture
def wrappers(tmp_path: Path) -> Iterator[Wrappers]:
    made = Wrappers(tmp_path)
    yield made
    made.end_all()


def test_the_program_takes_its_place_with_its_log_and_mark(wrappers: Wrappers, tmp_path: Path) -> None:
    process = wrappers.start('echo "$$ $MANOR_INSTANCE ${MANOR_WAITING-unset}"; echo err >&2; cat; exit 6')
    assert process.wait(10) == 6
    assert wrappers.lines() == [f"{process.pid} {INSTANCE}:{tmp_path} unset", "err"]


def test_the_log_is_appended_to(wrappers: Wrappers) -> None:
    wrappers.log.write_text("before\n")
    wrappers.run("echo after")
    assert wrappers.lines() == ["before", "after"]


def test_no_file_descriptor_is_left_open(wrappers: Wrappers, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=1\n")
    wrappers.run(["ls", "/proc/self/fd"], "--env-file", str(tmp_path / "env"))
    assert wrappers.lines() == ["0", "1", "2", "3"]  # 3 is the folder that ls reads


def test_variables_are_taken_as_they_are(wrappers: Wrappers, tmp_path: Path) -> None:
    strange = {"A": "b \"c\" 'd' $(touch hacked) `x` \\n $HOME * #", "EMPTY": "", "EQ": "=a=b", "instance": "evil", "MANOR_INSTANCE": "evil"}
    (tmp_path / "env").write_text("".join(f"{name}={value}\n" for name, value in strange.items()) + "LAST=ä no newline")
    wrappers.run(["env", "-0"], "--env-file", str(tmp_path / "env"), env={"PATH": os.environ["PATH"], "start": "ours", "OTHER": "kept"})
    found = dict(entry.split("=", 1) for entry in wrappers.log.read_text().rstrip("\0").split("\0"))
    assert found.pop("PWD", None) is not None
    wanted = {**strange, "MANOR_INSTANCE": f"{INSTANCE}:{tmp_path}", "LAST": "ä no newline", "OTHER": "kept", "PATH": os.environ["PATH"]}
    assert found == wanted


def test_any_byte_but_newline_and_nul_passes(wrappers: Wrappers, tmp_path: Path) -> None:
    value = bytes(byte for byte in range(1, 256) if byte != 10)
    (tmp_path / "env").write_bytes(b"V=" + value + b"\n")
    wrappers.run(["sh", "-c", "tr '\\0' '\\n' < /proc/self/environ > raw"], "--env-file", str(tmp_path / "env"), "--cwd", str(tmp_path))
    assert b"V=" + value in (tmp_path / "raw").read_bytes().split(b"\n")


@pytest.mark.parametrize(("line", "message"), [("no equals", "a line is not KEY=value"), ("a-b=1", "a-b is no name of a variable"), ("1A=x", "a line is not")])
def test_a_line_that_is_no_variable_stops_the_start(wrappers: Wrappers, tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "env").write_text(f"SECRET=s3cret\n{line}\n")
    assert wrappers.run("echo started", "--env-file", str(tmp_path / "env")) == 78
    assert message in wrappers.lines()[0]
    assert "s3cret" not in wrappers.log.read_text()


def test_an_idle_slot_ends_at_once(wrappers: Wrappers, tmp_path: Path) -> None:
    assert wrappers.run("echo started", "--wanted", str(tmp_path / "none")) == 0
    assert not wrappers.log.exists()


def test_folder_and_limits(wrappers: Wrappers, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "slot").symlink_to("real")
    wrappers.run("pwd; ulimit -n; ulimit -v", "--cwd", str(tmp_path / "slot"), "--limit-files", "77", "--limit-memory", "400000")
    assert wrappers.lines() == [str(tmp_path / "real"), "77", "400000"]


def test_a_second_one_waits_passes_signals_on_and_ends_with_the_first(wrappers: Wrappers) -> None:
    script = "trap 'echo usr1' USR1; trap 'echo hup' HUP; trap 'echo term; exit' TERM; echo up; while :; do sleep 0.05; done"
    first = wrappers.start(script)
    wait_until(lambda: wrappers.lines() == ["up"])
    second = wrappers.start("echo second")
    wait_until(lambda: len(wrappers.lines()) == 2)
    assert f"lives already (pid {first.pid} " in wrappers.lines()[1]
    for number, name in ((signal.SIGUSR1, "usr1"), (signal.SIGHUP, "hup"), (signal.SIGTERM, "term")):
        second.send_signal(number)
        wait_until(lambda name=name: name in wrappers.lines())  # type: ignore[misc]
    first.wait(10)
    assert second.wait(10) == 0
    assert "second" not in wrappers.lines()


@pytest.mark.parametrize("runs_already", [True, False])
def test_a_stop_that_comes_while_it_still_looks_is_not_forgotten(wrappers: Wrappers, tmp_path: Path, runs_already: bool) -> None:
    first = wrappers.start("echo up; exec sleep 20")
    wait_until(lambda: wrappers.lines() == ["up"])
    if not runs_already:
        first.kill()
        first.wait(10)
    (tmp_path / "grep").write_text(f'#!/bin/sh\n: > {tmp_path}/looking\nsleep 0.5\nexec {shutil.which("grep")} "$@"\n')
    (tmp_path / "grep").chmod(0o755)
    second = wrappers.start("echo second", env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    wait_until((tmp_path / "looking").exists)
    second.terminate()
    assert second.wait(20) == 0
    assert first.wait(10) < 0
    assert "second" not in wrappers.lines()


def test_one_that_nobody_wants_any_more_is_still_waited_for(wrappers: Wrappers, tmp_path: Path) -> None:
    first = wrappers.start("echo up; exec sleep 20")
    wait_until(lambda: wrappers.lines() == ["up"])
    second = wrappers.start("echo second", "--wanted", str(tmp_path / "none"))
    wait_until(lambda: len(wrappers.lines()) == 2)
    second.terminate()
    assert second.wait(10) == 0
    assert first.wait(10) == -signal.SIGTERM


def test_another_instance_whose_name_begins_alike_does_not_wait(wrappers: Wrappers) -> None:
    wrappers.start("echo up; sleep 20", instance="shop@web-1#1")
    wait_until(lambda: wrappers.lines() == ["up"])
    other = wrappers.start("echo other", instance="shop@web-1#10")
    assert other.wait(10) == 0
    assert wrappers.lines()[-1] == "other"


def test_many_at_once_run_one_after_no_other(wrappers: Wrappers) -> None:
    script = "mkdir one || echo clash; sleep 0.3; rmdir one; echo ran"
    processes = [wrappers.start(script, "--cwd", str(wrappers.folder)) for _ in range(8)]
    for process in processes:
        assert process.wait(20) == 0
    assert "clash" not in wrappers.lines()
    assert wrappers.lines().count("ran") == 1


def test_an_orphaned_child_keeps_the_place(wrappers: Wrappers) -> None:
    first = wrappers.start("sleep 30 & echo $!; wait")
    wait_until(lambda: bool(wrappers.lines()))
    child = int(wrappers.lines()[0])
    first.kill()
    first.wait(10)
    second = wrappers.start("echo second")
    wait_until(lambda: f"lives already (pid {child} )" in wrappers.lines()[-1])
    second.terminate()
    assert second.wait(10) == 0
    assert not is_running(child)


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_a_program_that_wipes_its_environment_keeps_the_place(wrappers: Wrappers, tmp_path: Path) -> None:
    """nginx writes its title over its environment; its process group tells it."""
    lines = f"daemon off; pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; server {{ listen 127.201.0.7:18081; }} }}"
    (tmp_path / "nginx.conf").write_text(lines)
    first = wrappers.start(["nginx", "-p", str(tmp_path), "-c", "nginx.conf"])
    wait_until(lambda: _name(first.pid) == "nginx" and bool(_children(first.pid)))
    worker = _children(first.pid)[0]
    wait_until(lambda: b"MANOR_INSTANCE" not in Path(f"/proc/{worker}/environ").read_bytes())
    wait_until(lambda: b"MANOR_INSTANCE" not in Path(f"/proc/{first.pid}/environ").read_bytes())
    second = wrappers.start("echo second")
    wait_until(lambda: "lives already" in " ".join(wrappers.lines()))
    first.kill()
    first.wait(10)
    time.sleep(0.5)
    assert second.poll() is None
    os.kill(worker, signal.SIGTERM)
    assert second.wait(10) == 0
    assert "second" not in wrappers.lines()


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()]


def test_a_crash_loop_is_slowed_down(wrappers: Wrappers) -> None:
    wrappers.run("echo one")
    began = time.monotonic()
    wrappers.run("echo two")
    assert time.monotonic() - began >= 1.0
    assert wrappers.lines()[1:] == [f"manor: {INSTANCE}:{wrappers.folder}: was started less than a second ago; waiting a second", "two"]


def test_starting_in_place_of_a_dead_one_is_quick(wrappers: Wrappers) -> None:
    wrappers.run("true")
    time.sleep(1.05)
    began = time.monotonic()
    wrappers.run("true")
    assert time.monotonic() - began < 0.5


def test_a_note_beside_the_log_says_where_this_start_begins(wrappers: Wrappers, tmp_path: Path) -> None:
    wrappers.log.write_text("written before\n")
    assert wrappers.run("echo mine") == 0
    begun_at = int((tmp_path / ".log.from").read_text())
    assert wrappers.log.read_bytes()[begun_at:] == b"mine\n"
    assert wrappers.run("echo again") == 0
    assert int((tmp_path / ".log.from").read_text()) == begun_at, "a restart by itself belongs to the same start"
