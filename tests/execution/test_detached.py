"""Detached programs with real processes: they outlive their starter, start once, and every end is recognised."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from manor.errors import ApplyFailed, CommandFailed, UsageError
from manor.execution import detached
from manor.execution.durable import Disk
from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.execution.values import Command, Detached, HostPath, Secret
from tests.execution.contract import ended
from tests.execution.test_programs import is_running, until

pytestmark = pytest.mark.native


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[LocalRunner]:
    made = LocalRunner("dev/all-1", Guard("dev/all-1"), root=HostPath(tmp_path))
    yield made
    for folder in (tmp_path / "ops", tmp_path / "ops" / "1"):
        await made.cancel(Detached("any", HostPath(folder), Command(("true",))))


def step(tmp_path: Path, script: str, *, stdin: bytes | None = None, timeout_seconds: float = 60.0) -> Detached:
    return Detached("op/1", HostPath(tmp_path / "ops" / "1"), Command(("sh", "-c", script), stdin=stdin), timeout_seconds)


async def number_in(path: Path) -> int:
    await until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def test_the_script_is_plain_posix() -> None:
    for name in ("detached.sh", "exec.sh"):
        for shell in ("dash", "sh"):
            subprocess.run([shell, "-n", str(detached.SCRIPT.with_name(name))], check=True)


async def test_two_starts_at_once_start_one(runner: LocalRunner, tmp_path: Path) -> None:
    one = step(tmp_path, f"echo x >> {tmp_path}/count; sleep 0.2")
    await asyncio.gather(*(runner.start(one) for _ in range(6)))
    assert (await ended(runner, one)).code == 0
    assert (tmp_path / "count").read_text() == "x\n"


async def test_its_folder_is_looked_at_in_threads_only(runner: LocalRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A share that is gone stops whoever looks at it, and must not stop everything else."""
    looked: set[str] = set()
    real = Path.read_text

    def noted(path: Path, *args: str) -> str:
        if path.is_relative_to(tmp_path / "ops"):
            looked.add(threading.current_thread().name)
        return real(path, *args)

    monkeypatch.setattr(Path, "read_text", noted)
    one = step(tmp_path, f"echo $$ > {tmp_path}/pid; sleep 60", stdin=b"in")
    assert (await runner.start(one)).code is None
    await number_in(tmp_path / "pid")
    assert (await runner.cancel(one)).code == 143
    assert looked == {"manor-read"}


async def test_another_key_does_not_get_the_folder(runner: LocalRunner, tmp_path: Path) -> None:
    await runner.start(step(tmp_path, "true"))
    with pytest.raises(UsageError, match=r"ops/1: is the folder of the step 'op/1', not of 'op/2'"):
        await runner.start(Detached("op/2", HostPath(tmp_path / "ops" / "1"), Command(("true",))))


async def test_input_environment_and_folder_reach_the_program(runner: LocalRunner, tmp_path: Path) -> None:
    command = Command(("sh", "-c", "cat; echo $TOKEN; pwd"), env={"TOKEN": Secret("s3cret")}, stdin=b"in\n")
    one = Detached("k", HostPath(tmp_path / "ops"), command)
    await runner.start(one)
    await ended(runner, one)
    assert await runner.log(one) == f"in\ns3cret\n{tmp_path}\n".encode()
    assert not any(b"s3cret" in path.read_bytes() for path in (tmp_path / "ops").iterdir() if path.name != "log")
    assert not (tmp_path / "ops" / "input").exists()


def run_and_kill(script: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert process.wait(20) == -signal.SIGKILL


async def test_it_outlives_the_controller(tmp_path: Path) -> None:
    script = f"""
import asyncio, os, signal
from tests.execution.test_detached import step, HostPath, LocalRunner, Guard, Path
runner = LocalRunner("dev/all-1", Guard("dev/all-1"), root=HostPath({str(tmp_path)!r}))
asyncio.run(runner.start(step(Path({str(tmp_path)!r}), "sleep 0.5; echo done; exit 5")))
os.killpg(0, signal.SIGKILL)
"""
    run_and_kill(script)
    runner, same = LocalRunner("dev/all-1", Guard("dev/all-1")), step(tmp_path, "echo never")
    assert (await runner.start(same)).code is None
    state = await ended(runner, same)
    assert (state.code, await runner.log(same)) == (5, b"done\n")


def waiting_wrapper(one: Detached) -> subprocess.Popen[bytes]:
    """Start a step's wrapper as a controller does, and let go of it by closing its input."""
    Path(one.folder).mkdir(parents=True, exist_ok=True)
    words = ["/bin/sh", str(detached.SCRIPT), str(one.folder), "60", *map(str, one.command.argv)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def left_alone(wrapper: subprocess.Popen[bytes]) -> None:
    """Die as its controller."""
    assert wrapper.stdin is not None
    wrapper.stdin.close()
    wrapper.wait(20)


async def test_a_controller_that_dies_before_it_claims_has_started_nothing(runner: LocalRunner, tmp_path: Path) -> None:
    one = step(tmp_path, f"echo x >> {tmp_path}/count")
    left_alone(waiting_wrapper(one))
    assert detached.stand(one).started is False
    await runner.start(one)
    assert (await ended(runner, one)).code == 0
    assert (tmp_path / "count").read_text() == "x\n"


async def test_a_controller_that_dies_after_its_claim_has_started_it(runner: LocalRunner, tmp_path: Path) -> None:
    one = step(tmp_path, f"echo x >> {tmp_path}/count; exit 4")
    wrapper = waiting_wrapper(one)
    assert detached.claim(Disk(), one, wrapper.pid)
    left_alone(wrapper)
    assert (await runner.start(one)).code == 4
    assert (tmp_path / "count").read_text() == "x\n"


class FullDisk(Disk):
    """Takes half of a file."""

    def write(self, path: Path, chunks: Iterable[bytes], mode: int) -> None:
        super().write(path, [next(iter(chunks))[:5]], mode)
        raise OSError(errno.ENOSPC, "No space left on device", str(path))


async def test_a_claim_for_which_the_disk_has_no_room_leaves_nothing(tmp_path: Path) -> None:
    one = step(tmp_path, "true")
    wrapper = waiting_wrapper(one)
    with pytest.raises(OSError, match="No space left on device"):
        detached.claim(FullDisk(), one, wrapper.pid)
    left_alone(wrapper)
    assert [path.name for path in Path(one.folder).iterdir() if path.name.startswith(".pid")] == []
    assert detached.stand(one).started is False


async def test_a_wrapper_whose_folder_is_another_s_starts_nothing(tmp_path: Path) -> None:
    one = step(tmp_path, f"echo x >> {tmp_path}/count")
    first, second = waiting_wrapper(one), waiting_wrapper(one)
    assert detached.claim(Disk(), one, first.pid)
    assert not detached.claim(Disk(), one, second.pid)
    left_alone(second)
    assert not (tmp_path / "count").exists()
    left_alone(first)
    assert (tmp_path / "count").read_text() == "x\n"
    assert sorted(path.name for path in Path(one.folder).iterdir()) == ["exit", "log", "pid"]


async def test_no_wrapper_is_left_as_a_zombie(runner: LocalRunner, tmp_path: Path) -> None:
    one = step(tmp_path, "true")
    await runner.start(one)
    await ended(runner, one)
    claimed = detached.identity_in(Path(one.folder))
    assert claimed is not None
    await until(lambda: not Path("/proc", str(claimed.pid)).exists())


async def test_time_out_ends_all_and_is_told_apart(runner: LocalRunner, tmp_path: Path) -> None:
    one = step(tmp_path, f"setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 60' & sleep 60", timeout_seconds=0.4)
    await runner.start(one)
    state = await ended(runner, one)
    assert (state.code, state.timed_out, state.lost) == (143, True, False)
    assert not is_running(await number_in(tmp_path / "pid"))


async def test_cancel_ends_what_took_a_session_of_its_own_too(runner: LocalRunner, tmp_path: Path) -> None:
    one = step(tmp_path, f"setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 60' & sleep 60")
    await runner.start(one)
    pid = await number_in(tmp_path / "pid")
    state = await runner.cancel(one)
    assert (state.code, state.timed_out) == (143, False)
    assert not is_running(pid)
    assert not list(detached.marked(one))


async def test_cancel_of_what_ignores_term(runner: LocalRunner, tmp_path: Path) -> None:
    one = step(tmp_path, f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.2; done")
    await runner.start(one)
    pid = await number_in(tmp_path / "pid")
    state = await runner.cancel(one)
    assert state.code == 137
    assert not is_running(pid)


async def test_the_program_may_be_interrupted(runner: LocalRunner, tmp_path: Path) -> None:
    """What a shell starts in the background ignores INT unless something is done about it."""
    one = step(tmp_path, "kill -INT $$; echo survived")
    await runner.start(one)
    assert (await ended(runner, one)).code == 130


async def test_without_its_wrapper_it_runs_until_it_ends_and_is_lost(runner: LocalRunner, tmp_path: Path) -> None:
    one = step(tmp_path, f"echo $$ > {tmp_path}/pid; sleep 60")
    await runner.start(one)
    pid = await number_in(tmp_path / "pid")
    claimed = detached.identity_in(tmp_path / "ops" / "1")
    assert claimed is not None
    os.kill(claimed.pid, signal.SIGKILL)
    await until(lambda: not detached.is_alive(claimed))
    assert (await runner.attach(one)).lost is False
    state = await runner.cancel(one)
    assert (state.code, state.lost) == (None, True)
    await until(lambda: not is_running(pid))
    assert (await runner.start(one)).lost is True
    await until(lambda: not list(detached.marked(one, detached.TIMER)))


async def test_without_its_wrapper_it_still_ends_in_time(runner: LocalRunner, tmp_path: Path) -> None:
    one = step(tmp_path, f"echo $$ > {tmp_path}/pid; sleep 60", timeout_seconds=0.6)
    await runner.start(one)
    pid = await number_in(tmp_path / "pid")
    claimed = detached.identity_in(tmp_path / "ops" / "1")
    assert claimed is not None
    os.kill(claimed.pid, signal.SIGKILL)
    await until(lambda: not is_running(pid))
    state = await ended(runner, one)
    assert (state.code, state.lost, state.timed_out) == (None, True, True)


@pytest.mark.parametrize("line", ["1 1 other-boot\n", f"{os.getpid()} 1 {detached.boot_id()}\n", "torn"], ids=["boot", "process", "torn"])
async def test_a_pid_of_another_boot_or_process_is_lost(runner: LocalRunner, tmp_path: Path, line: str) -> None:
    one = step(tmp_path, "true")
    Path(one.folder).mkdir(parents=True)
    Path(one.folder / "pid").write_text(line)
    state = await runner.attach(one)
    assert (state.started, state.code, state.lost) == (True, None, True)
    assert await runner.cancel(one) == state


async def test_its_end_is_told_to_whoever_waits_for_it(runner: LocalRunner, tmp_path: Path) -> None:
    """By the kernel and without looks in between, to a runner that did not start it, too; what it leaves is there by then."""
    one = step(tmp_path, f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; exit 3")
    await runner.ended(one)  # it does not run yet
    await runner.start(one)
    waiting = asyncio.create_task(LocalRunner("dev/all-1", Guard("dev/all-1"), root=HostPath(tmp_path)).ended(one))
    assert not (await asyncio.wait([waiting], timeout=0.1))[0]
    (tmp_path / "go").touch()
    await asyncio.wait_for(waiting, 10)
    assert (await runner.attach(one)).code == 3
    await asyncio.wait_for(runner.ended(one), 10)


async def test_the_log_is_read_while_it_grows(runner: LocalRunner, tmp_path: Path) -> None:
    one = step(tmp_path, f"echo first; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo second")
    await runner.start(one)
    await until(lambda: detached.stand(one).log_bytes == 6)
    (tmp_path / "go").touch()
    await ended(runner, one)
    assert await runner.log(one, 6) == b"second\n"


async def test_a_program_that_is_not_there_ends_with_127(runner: LocalRunner, tmp_path: Path) -> None:
    one = Detached("k", HostPath(tmp_path / "ops"), Command(("no-such-program",)))
    await runner.start(one)
    assert (await ended(runner, one)).code == 127


async def test_a_folder_to_start_in_that_is_not_there_is_said_at_once(runner: LocalRunner, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"the folder /no/such does not exist"):
        await runner.start(Detached("k", HostPath(tmp_path / "ops"), Command(("true",), cwd=HostPath("/no/such"))))


async def test_a_folder_that_cannot_be_made_is_said_with_the_step(runner: LocalRunner, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ApplyFailed, match=r"dev/all-1: the detached step k was not started: .*/file/ops: Not a directory"):
        await runner.start(Detached("k", HostPath(tmp_path / "file" / "ops"), Command(("true",))))


async def test_nothing_of_the_wrapper_stays_behind(runner: LocalRunner, tmp_path: Path) -> None:
    one = step(tmp_path, "true")
    await runner.start(one)
    await ended(runner, one)
    words = str(one.folder).encode()
    await until(lambda: not any(words in _command_line(pid) for pid in Path("/proc").glob("[0-9]*")))
    assert sorted(path.name for path in Path(one.folder).iterdir()) == ["exit", "log", "pid"]


def _command_line(folder: Path) -> bytes:
    try:
        return (folder / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
