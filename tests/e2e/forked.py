"""Verbs without the time that imports take: each in a process of its own, forked from one that has imported Manor already.

A verb of which a test wants to see signals, kills or the start-up itself is started anew instead (`LiveEstate.start`).
Source: https://docs.python.org/3/library/socket.html#socket.send_fds
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import manor
from manor.cli.main import main

LENGTH = struct.Struct("!I")
CODE = struct.Struct("!i")
SCRIPTS = ("manor.__main__", "manor.integrations.repositories.hosted.hooks", "manor.state.migrations")
"""What is no module to be imported: it acts when it is."""
FIRST_FREE = 3
"""After standard input, output and error."""


class Forker:
    """Has verbs carried out by processes that are forked for them."""

    def __init__(self) -> None:
        """Start the process that is forked from; it ends with the one that started it."""
        self.control, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.e2e.forked", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )

    def run(self, words: Sequence[str], cwd: Path, env: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
        """Carry a verb out to its end, as `subprocess.run` would. Raises TimeoutExpired, after it was killed."""
        mine, theirs = socket.socketpair()
        with mine, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            with theirs:
                socket.send_fds(self.control, [b"!"], [theirs.fileno()])
            asked = json.dumps({"words": list(words), "cwd": str(cwd), "env": dict(env)}).encode()
            socket.send_fds(mine, [LENGTH.pack(len(asked))], [out.fileno(), err.fileno()])
            mine.sendall(asked)
            mine.settimeout(timeout)
            try:
                answer = mine.recv(CODE.size)
            except TimeoutError as error:
                raise subprocess.TimeoutExpired(list(words), timeout, text(out), text(err)) from error
            assert len(answer) == CODE.size, f"the process that verbs are forked from has ended: {self.process.poll()}"
            return subprocess.CompletedProcess(list(words), CODE.unpack(answer)[0], text(out), text(err))


FORKERS: list[Forker] = []
BEGINNING = threading.Lock()


def forker() -> Forker:
    """Return the one of this process; the first who asks starts it."""
    with BEGINNING:
        if not FORKERS:
            FORKERS.append(Forker())
    return FORKERS[0]


def text(file: BinaryIO) -> str:
    """Return what was written into a file."""
    file.seek(0)
    return file.read().decode(errors="replace")


def import_everything() -> None:
    """Import what any verb may need, and keep the collector from copying it into each process."""
    for module in pkgutil.walk_packages(manor.__path__, "manor."):
        if not module.name.startswith(SCRIPTS):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()


def serve(control: socket.socket) -> None:
    """Fork a process for each request, until who asks is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while True:
        _, found, _, _ = socket.recv_fds(control, 1, 1)
        if not found:
            return
        with socket.socket(fileno=found[0]) as connection:
            if not os.fork():
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                control.close()
                attend(connection)
                os._exit(0)


def attend(connection: socket.socket) -> None:
    """Have a verb carried out and say how it ended; if who asked is gone first, kill it."""
    prefix, files, _, _ = socket.recv_fds(connection, LENGTH.size, 2)
    asked = json.loads(exactly(connection, LENGTH.unpack(prefix)[0]))
    pid = os.fork()
    if not pid:
        connection.detach()  # closed with all files that are not the verb's
        become(asked, files)
        sys.exit(main())
    handle = os.pidfd_open(pid)
    ready, _, _ = select.select([handle, connection.fileno()], [], [])
    if handle not in ready:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(CODE.pack(os.waitstatus_to_exitcode(status)))


def exactly(connection: socket.socket, length: int) -> bytes:
    """Return so many bytes."""
    got = b""
    while len(got) < length:
        part = connection.recv(length - len(got))
        if not part:
            raise EOFError("who asked is gone")
        got += part
    return got


def become(asked: Mapping[str, Any], files: Sequence[int]) -> None:
    """Make this process what `python -m manor …` would be."""
    for number, file in enumerate(files, start=1):
        os.dup2(file, number)
    os.closerange(FIRST_FREE, max(files) + 100)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    sys.modules["__main__"].__package__ = manor.__name__
    sys.argv = [str(Path(manor.__file__).with_name("__main__.py")), *asked["words"]]


if __name__ == "__main__":
    import_everything()
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        serve(listening)
