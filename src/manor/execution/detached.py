"""Starts, finds again and ends programs that outlive the controller (docs/detached-steps.md).

Invariant: what a step's state is told from lies in its folder and in /proc, never in this process: a new controller sees what the old one saw.
Invariant: what is async here looks at a step's folder in threads only; what it does to processes it does itself, never a thread that was left behind.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from manor.errors import UsageError
from manor.execution import durable, files
from manor.execution.bounded import in_own_thread
from manor.execution.durable import Disk
from manor.execution.processes import Place, readable
from manor.execution.processes import start as start_process
from manor.execution.values import Detached, DetachedState, MakeFolder, PutFile

SCRIPT = Path(__file__).with_name("detached.sh")
GO = b"go\n"
CANCEL_SECONDS = 8.0
POLL_SECONDS = 0.02
TIMER = "MANOR_TIMER"


@dataclass(frozen=True)
class Identity:
    """A process that no later one of the same number can be taken for."""

    pid: int
    started_ticks: int
    boot: str


def start(disk: Disk, step: Detached, place: Place) -> DetachedState:
    """Start the step unless it was, and return how it stands. Raises CommandFailed, Unreachable, UsageError if the folder is another key's, OSError."""
    folder = Path(step.folder)
    files.carry_out(disk, MakeFolder(step.folder, mode=0o700))
    check_key(step)
    if identity_in(folder) is None:
        if step.command.stdin:
            files.carry_out(disk, PutFile(step.folder / "input", step.command.stdin, mode=0o600))
        launch(disk, step, place)
        check_key(step)
    return stand(step)


def check_key(step: Detached) -> None:
    """Raise UsageError if another step has the folder."""
    pid_file = Path(step.folder) / "pid"
    key = pid_file.read_text().partition("\n")[2] if pid_file.exists() else step.key
    if key != step.key:
        raise UsageError(f"{step.folder}: is the folder of the step {key!r}, not of {step.key!r}")


def launch(disk: Disk, step: Detached, place: Place) -> None:
    """Start a wrapper, claim the folder for it and let it go; if another has it, ours ends by itself. Raises CommandFailed, Unreachable, OSError."""
    disk.require(Path(step.folder))
    words = ("/bin/sh", str(SCRIPT), str(step.folder), f"{step.timeout_seconds:.3f}", *step.command.argv)
    reading, writing = os.pipe()
    try:
        wrapper = start_process(replace(step.command, argv=words), place, reading, subprocess.DEVNULL, subprocess.DEVNULL)
        try:
            if claim(disk, step, wrapper.pid):
                os.write(writing, GO)
        finally:
            # It is our child: somebody has to take its end, whenever that is.
            threading.Thread(target=wrapper.wait, name=f"wrapper-{wrapper.pid}", daemon=True).start()
    finally:
        os.close(reading)
        os.close(writing)


def claim(disk: Disk, step: Detached, pid: int) -> bool:
    """Claim the step's folder for a wrapper that waits; False if another has it. Raises OSError."""
    target = Path(step.folder) / "pid"
    identity = Identity(pid, look_at(pid)[1], boot_id())
    durable.sweep(disk, target)
    new = durable.beside(target)
    try:
        disk.write(new, [f"{identity.pid} {identity.started_ticks} {identity.boot}\n{step.key}".encode()], 0o600)
        return _is_named(disk, new, target)
    finally:
        durable.discard(disk, new)


def _is_named(disk: Disk, new: Path, target: Path) -> bool:
    """Give the file its name, and tell whether that was free."""
    try:
        disk.name(new, target)
    except FileExistsError:
        return False
    return True


def stand(step: Detached) -> DetachedState:
    """Return how a step stands, from its folder and from /proc."""
    state = told_by_wrapper(step)
    return replace(state, lost=not any(marked(step))) if state.lost else state


def told_by_wrapper(step: Detached) -> DetachedState:
    """Return how a step stands, without a look at every process: it may seem lost though what it started lives."""
    folder = Path(step.folder)
    claimed = identity_in(folder)
    if claimed is None:
        return DetachedState(started=False)
    is_wrapped = is_alive(claimed)
    code = _code(folder)
    return DetachedState(
        started=True,
        code=code,
        lost=code is None and not is_wrapped,
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
        state, ticks = look_at(identity.pid)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {b"Z", b"X"} and ticks == identity.started_ticks


def look_at(pid: int) -> tuple[bytes, int]:
    """Return a process's state and start time in clock ticks. Raises FileNotFoundError or ProcessLookupError if there is none."""
    state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    return state, int(fields[18])


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
