"""Starts a program in a session of its own, without a shell, and never leaves it behind when time is up.

Invariant: what ends early (time out, cancel) is ended with its whole process group: TERM, a grace, KILL.
Input and output pass through memory files: no pipe can fill up, and a daemon that a command leaves behind cannot keep us waiting for its output.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from manor.errors import CommandFailed, TimedOut, Unreachable
from manor.execution.messages import last_lines, revealed, secrets_of, shown
from manor.execution.values import Command, Completed, HostPath

INHERITED = ("HOME", "LOGNAME", "TMPDIR", "TZ", "USER")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OWN_TOOLS = os.path.dirname(os.path.abspath(sys.executable))  # noqa: PTH100, PTH120 -- links must not be followed: a venv's python is one
"""Where tools lie that were installed beside Manor; looked at last."""


def with_own_tools(path: str) -> str:
    """Return a PATH with what an ordinary user's lacks at its end: where Debian puts servers, and the tools installed beside Manor."""
    folders = path.split(":")
    return ":".join([*folders, *(folder for folder in ("/usr/local/sbin", "/usr/sbin", "/sbin", OWN_TOOLS) if folder not in folders)])


NO_ROOM = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
NO_PROGRAM, NOT_EXECUTABLE = 127, 126


@dataclass(frozen=True)
class Place:
    """Where commands run, and how long a program may take to end after TERM."""

    host: str
    folder: HostPath
    grace_seconds: float


def environment(own: Mapping[str, str], inherited: Mapping[str, str]) -> dict[str, str]:
    """Return a small, explicit environment: PATH, HOME and the like, LANG=C.UTF-8, then the command's own."""
    kept = {name: inherited[name] for name in INHERITED if name in inherited}
    return {"PATH": with_own_tools(inherited.get("PATH") or DEFAULT_PATH), "LANG": "C.UTF-8", **kept, **own}


async def run(command: Command, place: Place) -> Completed:
    """Run to the end. Raises CommandFailed, TimedOut, Unreachable."""
    began = time.monotonic()
    with ExitStack() as files:
        source, out, err = (_memory_file(files, name) for name in ("in", "out", "err"))
        _fill(source, command.stdin or b"")
        process = start(command, place, source, out, err)
        ended = await _wait(process, command.timeout_seconds, place.grace_seconds)
        completed = Completed(process.returncode or 0, _contents(out), _contents(err), seconds=time.monotonic() - began)
    return judged(command, completed, ended, place.host)


def judged(command: Command, completed: Completed, ended: bool, host: str) -> Completed:
    """Return what a command gave, or raise TimedOut or CommandFailed saying which command, where, and its last lines."""
    lines = last_lines(completed.err if completed.err.strip() else completed.out, secrets_of(command))
    if not ended:
        raise TimedOut(f"{host}: `{shown(command)}` was not done after {command.timeout_seconds:g} s and was ended{lines}")
    if completed.code not in command.ok_codes:
        raise CommandFailed(f"{host}: `{shown(command)}` ended with {code_text(completed.code)}{lines}", completed.code)
    return completed


def code_text(code: int) -> str:
    """Return an exit code as text; negative: the signal that ended it."""
    if code >= 0:
        return f"code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def start(command: Command, place: Place, stdin: int, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
    """Start the program. Raises CommandFailed if there is none, Unreachable if the machine has no room for one more."""
    folder = Path(command.cwd or place.folder)
    own = {name: revealed(value) for name, value in command.env.items()}
    try:
        return subprocess.Popen(
            [revealed(word) for word in command.argv],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env=environment(own, os.environ),
            start_new_session=True,
        )
    except FileNotFoundError:
        lacking = f"the folder {folder}" if not folder.is_dir() else "the program"
        raise CommandFailed(f"{place.host}: `{shown(command)}`: {lacking} does not exist", NO_PROGRAM) from None
    except ValueError:
        raise CommandFailed(f"{place.host}: `{shown(command)}`: an argument or variable is none that a program can be given", NOT_EXECUTABLE) from None
    except OSError as error:
        message = f"{place.host}: `{shown(command)}`: cannot be started: {error.strerror}"
        raise Unreachable(message) if error.errno in NO_ROOM else CommandFailed(message, NOT_EXECUTABLE) from None


async def _wait(process: subprocess.Popen[bytes], timeout_seconds: float, grace_seconds: float) -> bool:
    """Wait for its end and tell whether it came by itself; else end the group. The program is no zombie afterwards."""
    handle = os.pidfd_open(process.pid)
    try:
        ended = await readable(handle, timeout_seconds)
        if not ended:
            await _end_group(process.pid, handle, grace_seconds)
    except BaseException:
        await _end_group_whatever_comes(process.pid, handle, grace_seconds)
        raise
    finally:
        process.wait()
        os.close(handle)
    return ended


async def readable(number: int, timeout_seconds: float | None) -> bool:
    """Wait until a file descriptor is readable (a pidfd: the process ended); False when time is up first, None: never."""
    loop = asyncio.get_running_loop()
    seen = asyncio.Event()
    loop.add_reader(number, seen.set)
    try:
        async with asyncio.timeout(timeout_seconds):
            await seen.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(number)
    return True


async def _end_group(group: int, handle: int, grace_seconds: float) -> None:
    """TERM, grace, KILL. The leader is not reaped yet, so the number cannot be another group's."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
    await readable(handle, grace_seconds)
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


async def _end_group_whatever_comes(group: int, handle: int, grace_seconds: float) -> None:
    """End the group while our own task is being cancelled; a second cancel cuts the grace short, not the KILL."""
    try:
        await _end_group(group, handle, grace_seconds)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def _memory_file(files: ExitStack, name: str) -> int:
    number = os.memfd_create(f"manor-{name}")
    files.callback(os.close, number)
    fcntl.fcntl(number, fcntl.F_SETFL, fcntl.fcntl(number, fcntl.F_GETFL) | os.O_APPEND)
    return number


def _fill(number: int, content: bytes) -> None:
    with os.fdopen(os.dup(number), "wb") as file:
        file.write(content)
    os.lseek(number, 0, os.SEEK_SET)


def _contents(number: int) -> bytes:
    return os.pread(number, os.fstat(number).st_size, 0)
