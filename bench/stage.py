"""Where a benchmark runs: a folder of its own, estates and programs that are gone when it ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.results import ROOT
from tests.e2e.estates import LiveEstate, build_echo, release_of

PEERS = ROOT / "bench" / "peers"
ASK_SECONDS = 0.02


@dataclass
class Stage:
    """The folder, and what has to be ended."""

    folder: Path
    quick: bool
    cleaning: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def choose(self, full: int, quick: int) -> int:
        """Return how often something is done."""
        return quick if self.quick else full

    def say(self, text: str) -> None:
        """Tell what is going on."""
        print(f"  {time.strftime('%H:%M:%S')}  {text}", flush=True)

    def estate(self, name: str, text: str) -> LiveEstate:
        """Make an estate, not up yet."""
        estate = LiveEstate(self.folder / name, text)
        self.cleaning.callback(take_down, estate)
        return estate

    def artifact(self) -> Path:
        """Return the echo service as an artifact folder."""
        folder = self.folder / "echo"
        return folder if folder.exists() else build_echo(folder)

    def artifacts(self, count: int) -> list[Path]:
        """Return so many releases of the echo service, as files: handing them in costs little."""
        return [self._packed(number) for number in range(1, count + 1)]

    def _packed(self, number: int) -> Path:
        file = self.folder / f"release-{number}.tar"
        if not file.exists():
            folder = release_of(self.artifact(), self.folder / f"release-{number}", str(number))
            shutil.make_archive(str(folder), "tar", folder)
        return file

    def clear(self) -> None:
        """End everything there is so far."""
        self.cleaning.close()

    def program(self, argv: Sequence[str], log: str, *, cwd: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own; it is ended with the stage."""
        with (self.folder / f"{log}.log").open("ab") as out:
            process = subprocess.Popen(
                list(argv), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, cwd=cwd or self.folder, env=environ()
            )
        self.cleaning.callback(end, process)
        return process


def environ() -> dict[str, str]:
    """Return the environment of programs that need this project."""
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}


@contextlib.contextmanager
def stage(*, quick: bool) -> Iterator[Stage]:
    """Give a stage; at its end nothing of it is left, and Ctrl-C does not keep it from cleaning up."""
    folder = Path(tempfile.mkdtemp(prefix="manor-bench-"))
    made = Stage(folder, quick)
    try:
        yield made
    finally:
        with uninterrupted():
            made.cleaning.close()
            end_leftovers(folder)
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Put Ctrl-C and SIGTERM off."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def take_down(estate: LiveEstate) -> None:
    """Take an estate down; what it left running after all is ended by pid."""
    with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
        estate.down()
    end_leftovers(estate.folder)


def end_leftovers(folder: Path) -> None:
    """End by pid, and tell, what still runs for a folder that nothing should run for."""
    for pid in pids_of(folder):
        print(f"  process {pid} was left behind; ending it", flush=True)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def pids_of(folder: Path) -> list[int]:
    """Return the processes that run for an estate or a peer: its folder is in their command line or environment, or in that of one they come from."""
    mark = str(folder).encode() + b"/"
    processes = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and int(entry.name) != os.getpid()]
    parents = {int(entry.name): parent_of(entry) for entry in processes}
    found = {int(entry.name) for entry in processes if mark in words_of(entry)}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def parent_of(process: Path) -> int:
    """Return the pid of a process's parent; 0 if it is gone."""
    try:
        return int((process / "stat").read_text().rpartition(") ")[2].split()[1])
    except OSError:
        return 0


def words_of(process: Path) -> bytes:
    """Return a process's command line and environment; nothing if it is gone or not ours."""
    try:
        return (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    except OSError:
        return b""


def end(process: subprocess.Popen[bytes]) -> None:
    """End a program with all that it started: ask, then kill."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
    process.wait(5)


def wait_for(holds: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait until something holds; return after how many seconds. Raises TimeoutError."""
    start = time.monotonic()
    while not holds():
        if time.monotonic() - start > seconds:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(ASK_SECONDS)
    return time.monotonic() - start


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fill(source: Path, target: Path, values: Mapping[str, str]) -> None:
    """Write a peer's configuration with its addresses and folders put in for `@NAME@`."""
    text = source.read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    target.write_text(text)


def listens(address: str, port: int) -> bool:
    """Tell whether somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


def python(*words: str) -> list[str]:
    """Return the command of a Python module or script."""
    return [sys.executable, *words]
