"""Starts, finds again and ends programs that outlive the controller (docs/detached-steps.md).

Invariant: what a step's state is told from lies in its folder and in /proc, never in this process: a new controller sees what the old one saw.
Invariant: what is async here looks at a step's folder in threads only; what it does to processes it does itself, never a thread that was left behind.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from manor.errors import ApplyFailed, TimedOut, UsageError
from manor.execution import files
from manor.execution.bounded import in_own_thread
from manor.execution.durable import Disk
from manor.execution.processes import Place, readable
from manor.execution.processes import start as start_process
from manor.execution.values import Detached, DetachedState, MakeFolder, PutFile

SCRIPT = Path(__file__).with_name("detached.sh")
CLAIM_SECONDS = 10.0
CANCEL_SECONDS = 8.0
POLL_SECONDS = 0.02
TIMER = "MANOR_TIMER"


@dataclass(frozen=True)
class Identity:
    """A process that no later one of the same number can be taken for."""

    pid: int
    started_ticks: int
    boot: str


def prepare(disk: Disk, step: Detached) -> None:
    """Make the step's folder, with its input. Raises UsageError if the folder is another key's, OSError."""
    files.carry_out(disk, MakeFolder(step.folder, mode=0o700))
    check_key(step)
    if step.command.stdin and identity_in(Path(step.folder)) is None:
        files.carry_out(disk, PutFile(step.folder / "input", step.command.stdin, mode=0o600))


def check_key(step: Detached) -> None:
    """Raise UsageError if another step has the folder."""
    pid_file = Path(step.folder) / "pid"
    key = pid_file.read_text().partition("\n")[2] if pid_file.exists() else step.key
    if key != step.key:
        raise UsageError(f"{step.folder}: is the folder of the step {key!r}, not of {step.key!r}")


async def launch(step: Detached, place: Place) -> None:
    """Start the wrapper and return once it has claimed the folder, or has found it claimed. Raises CommandFailed, ApplyFailed, TimedOut, UsageError."""
    reading, writing = os.pipe()
    try:
        await in_own_thread(lambda: _start_wrapper(step, place, writing))
        answer = await _answer(reading, step, place)
    finally:
        os.close(reading)
    if answer not in {"started", "again"}:
        raise ApplyFailed(f"{place.host}: the detached step {step.key} was not started: {answer or 'its wrapper ended at once'}")
    await in_own_thread(lambda: _settle(step))


def stand(step: Detached) -> DetachedState:
    """Return how a step stands, from its folder and from /proc."""
    folder = Path(step.folder)
    claimed = identity_in(folder)
    if claimed is None:
        return DetachedState(started=False)
    running = is_alive(claimed)
    code = _code(folder)
    if code is None and not running:
        running = any(marked(step))
    return DetachedState(
        started=True,
        code=code,
        lost=code is None and not running,
        timed_out=(folder / "timed_out").exists(),
        log_bytes=_size(folder / "log"),
    )


async def wait_for_wrapper(claimed: Identity | None) -> None:
    """Wait until a step's wrapper has ended: told by the kernel, whoever's child it is. At once if none lives."""
    if claimed is None:
        return
    try:
        handle = os.pidfd_open(claimed.pid)
    except OSError:  # it is gone, or its number is none
        return
    try:
        if is_alive(claimed):
            await readable(handle, None)
    finally:
        os.close(handle)


async def end(step: Detached) -> DetachedState:
    """End the program with all it started, and return how the step stands. A wrapper that is gone or hangs is done without."""
    deadline = time.monotonic() + CANCEL_SECONDS
    state, claimed = await in_own_thread(lambda: (stand(step), identity_in(Path(step.folder))))
    if state.started and not (claimed is not None and is_alive(claimed)):
        await _signal_marked(step, signal.SIGTERM)
    if not _is_running(state):
        return state
    _signal_wrapper(claimed, signal.SIGTERM)
    while _is_running(state) and time.monotonic() < deadline:
        await asyncio.sleep(POLL_SECONDS)
        state = await in_own_thread(lambda: stand(step))
    if _is_running(state):
        _signal_wrapper(claimed, signal.SIGKILL)
        await _signal_marked(step, signal.SIGKILL)
        await asyncio.sleep(POLL_SECONDS)
    return await in_own_thread(lambda: stand(step))


def identity_in(folder: Path) -> Identity | None:
    """Return whom a step's `pid` file names; None if there is none."""
    try:
        pid, ticks, boot = (folder / "pid").read_text().partition("\n")[0].split()
    except FileNotFoundError:
        return None
    except ValueError:
        return Identity(0, 0, "")
    return Identity(int(pid), int(ticks), boot)


def is_alive(identity: Identity) -> bool:
    """Tell whether this very process lives: same boot, same number, same start time, and no zombie."""
    if identity.boot != boot_id():
        return False
    try:
        state, *fields = Path(f"/proc/{identity.pid}/stat").read_bytes().rpartition(b") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {b"Z", b"X"} and int(fields[18]) == identity.started_ticks


def boot_id() -> str:
    """Return the number that the kernel gave this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def marked(step: Detached, name: str = "MANOR_DETACHED") -> Iterator[int]:
    """Yield the processes that carry the step's mark in their environment."""
    mark = f"{name}={step.folder}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    yield int(folder.name)


async def _answer(reading: int, step: Detached, place: Place) -> str:
    deadline, answer = time.monotonic() + CLAIM_SECONDS, b""
    while await readable(reading, deadline - time.monotonic()):
        piece = os.read(reading, 4096)
        answer += piece
        if not piece or answer in {b"started\n", b"again\n"}:
            return answer.decode("utf-8", "replace").strip()
    raise TimedOut(f"{place.host}: the wrapper of the detached step {step.key} did not answer within {CLAIM_SECONDS:g} s")


def _code(folder: Path) -> int | None:
    try:
        text = (folder / "exit").read_text()
    except FileNotFoundError:
        return None
    return int(text) if text.endswith("\n") else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _is_running(state: DetachedState) -> bool:
    return state.started and state.code is None and not state.lost


def _start_wrapper(step: Detached, place: Place, writing: int) -> None:
    limit = f"{step.timeout_seconds:.3f}"
    command = replace(step.command, argv=("setsid", "--fork", "/bin/sh", str(SCRIPT), "--inside", str(step.folder), step.key, limit, *step.command.argv))
    try:
        launcher = start_process(command, place, subprocess.DEVNULL, writing, writing)
    finally:
        os.close(writing)
    launcher.wait()


def _settle(step: Detached) -> None:
    """Take the second name of the claim away. Raises UsageError if another step has claimed the folder."""
    check_key(step)
    if (claimed := identity_in(Path(step.folder))) is not None:
        (Path(step.folder) / f"pid.{claimed.pid}").unlink(missing_ok=True)


def _signal_wrapper(claimed: Identity | None, number: signal.Signals) -> None:
    if claimed is None:
        return
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(claimed.pid)
        try:
            if is_alive(claimed):
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


async def _signal_marked(step: Detached, number: signal.Signals) -> None:
    for pid in await in_own_thread(lambda: [*marked(step), *marked(step, TIMER)]):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
