"""Ends what test runs of this checkout left that were killed before they could take their estates down.

A run holds a lock on a file of its own that lists its estates; the kernel lets go of the lock when the run dies, so a file without a lock is a dead run's.
Only processes that bear an estate's own marks are ended: never those of a living run, nor one that merely looks into an estate's folder.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.e2e.orphans import noted_groups

ROOT = Path(__file__).parents[2]
LISTS = ROOT / ".cache" / "live-estates"
MARK = "MANOR_TEST_ESTATE"
"""In the environment of every verb that a test runs."""
OWN_MARKS = ("MANOR_INSTANCE", "MANOR_DETACHED", "MANOR_TIMER", MARK)
DOWN_SECONDS = 90.0
END_SECONDS = 10.0


@dataclass
class Run:
    """This test run's list of estates."""

    lists: Path = LISTS
    _file: IO[str] | None = None
    _estates: dict[str, Mapping[str, str]] = field(default_factory=dict)
    _threads: threading.Lock = field(default_factory=threading.Lock)
    """Fixtures bring estates up side by side."""

    def note(self, folder: Path, env: Mapping[str, str]) -> None:
        """Note an estate before anything of it runs; the first time, sweep what dead runs left."""
        with self._threads:
            if self._file is None:
                self._file = self._begin()
                atexit.register(self._end)
            self._estates[str(folder)] = dict(env)
            self._write()

    def _begin(self) -> IO[str]:
        """Sweep, and return this run's own list, locked before another run can look at it."""
        self.lists.mkdir(parents=True, exist_ok=True)
        alone = os.open(self.lists, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(alone, fcntl.LOCK_EX)
            sweep(self.lists)
            made = (self.lists / f"{os.getpid()}-{time.time_ns()}.json").open("w")
            fcntl.flock(made, fcntl.LOCK_EX)
            return made
        finally:
            os.close(alone)

    def forget(self, folder: Path) -> None:
        """Note that an estate was taken down."""
        with self._threads:
            if self._estates.pop(str(folder), None) is not None:
                self._write()

    def _write(self) -> None:
        assert self._file is not None
        self._file.seek(0)
        self._file.write(json.dumps(self._estates))
        self._file.truncate()
        self._file.flush()

    def _end(self) -> None:
        if self._file is not None and not self._estates:
            Path(self._file.name).unlink(missing_ok=True)


THIS_RUN = Run()


def sweep(lists: Path) -> list[str]:
    """Take down the estates of runs that are dead; return their folders. Raises AssertionError if something of them can't be ended."""
    swept = []
    for path in sorted(lists.glob("*.json")):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # its run lives
            estates = json.loads(file.read() or "{}")
            for folder, env in estates.items():
                take_down(Path(folder), env)
                swept.append(folder)
            path.unlink(missing_ok=True)
    return swept


def take_down(folder: Path, env: Mapping[str, str]) -> None:
    """Take an estate down by its own verb, and end what is left of it."""
    for pid in marked(folder, (MARK,)):
        kill(pid, folder)  # a verb that still works would bring up again what is taken down
    if (folder / "estate.yaml").exists():
        with suppress(subprocess.TimeoutExpired):
            command = [sys.executable, "-m", "manor", "down", "--purge"]
            own = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "MANOR_NO_CONTROLLER": "1", **env}
            subprocess.run(command, cwd=folder, env=own, capture_output=True, timeout=DOWN_SECONDS, check=False)
    limit = time.monotonic() + END_SECONDS
    while left := list(marked(folder)):
        assert time.monotonic() < limit, f"{folder}: {left} of a dead test run can't be ended"
        for pid in left:
            kill(pid, folder)
        time.sleep(0.1)


def marked(folder: Path, names: tuple[str, ...] = OWN_MARKS) -> Iterator[int]:
    """Yield the processes that are an estate's own, by what only Manor or a test gives them."""
    groups = {group for group, _ in noted_groups(folder)} if names == OWN_MARKS else set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if is_own(entry, folder, names) or (groups and is_of_group(entry, folder, groups)):
                    yield int(entry.name)


def is_own(entry: Path, folder: Path, names: tuple[str, ...] = OWN_MARKS) -> bool:
    """Tell whether a process bears one of the marks, or is a supervisor with a file of the estate."""
    environ = dict(line.partition("=")[::2] for line in (entry / "environ").read_bytes().decode(errors="replace").split("\0"))
    if any(is_below(environ.get(name, ""), folder) for name in names):
        return True
    words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
    return names == OWN_MARKS and "supervisor.supervisord" in words and any(is_below(word, folder) for word in words)


def is_of_group(entry: Path, folder: Path, groups: set[int]) -> bool:
    """Tell whether a process is one that wiped its environment: of a group that a start noted, with a file of the estate open."""
    stat = (entry / "stat").read_text().rpartition(") ")[2].split()
    return stat[0] != "Z" and int(stat[2]) in groups and any(is_below(str(link.readlink()), folder) for link in (entry / "fd").iterdir())


def is_below(path: str, folder: Path) -> bool:
    """Tell whether a path is a folder or below it; one that merely begins alike is not."""
    return path == str(folder) or path.startswith(f"{folder}/")


def kill(pid: int, folder: Path) -> None:
    """Kill a process, unless its number has come to be another's."""
    with suppress(ProcessLookupError, FileNotFoundError):
        handle = os.pidfd_open(pid)
        try:
            if pid in marked(folder):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
