"""The contract of a supervisor: keeps a host's programs running; pure functions to files and acts, and from output to values.

Invariant: every program starts through the host's `exec` wrapper, so nothing ever writes into the supervisor's own pipes.
How to add a product: README.md beside this file.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum

from manor.estate.layout import HostLayout
from manor.execution.values import Act, Command, Completed, Detached, Effect, HostPath, MakeFolder, Touch

KILL_SECONDS = 20.0
"""What killed programs may take to be gone, and what looking for them may take."""


@dataclass(frozen=True)
class Program:
    """Something that is to run on a host."""

    name: str
    argv: tuple[str, ...]
    subject: str
    """Whose ownership decides: `tier/<key>` or `service/<name>`."""
    log: HostPath
    cwd: HostPath | None = None
    env_file: HostPath | None = None
    wanted: HostPath | None = None
    """The program runs only while this file is there; None: always."""
    stop_signal: str = "TERM"
    stop_seconds: float = 30.0
    memory_bytes: int | None = None
    files: int | None = None
    priority: int = 500
    """Lower starts earlier."""


@dataclass(frozen=True)
class SupervisedHost:
    """A host and all that is to run on it, sorted by name."""

    environment: str
    host: str
    layout: HostLayout
    programs: tuple[Program, ...] = ()


class ProgramStatus(StrEnum):
    """How a program stands."""

    RUNNING = "running"
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class ProgramView:
    """How the supervisor sees a program."""

    name: str
    status: ProgramStatus
    pid: int | None = None
    started_at: float | None = None
    """Seconds since 1970; a change of it within a window is a restart."""
    detail: str = ""


@dataclass(frozen=True)
class SupervisorFile:
    """A native file, by its place under the supervisor's `etc` folder."""

    name: str
    content: bytes = field(repr=False)
    mode: int = 0o644


def wrapped(program: Program, layout: HostLayout) -> tuple[str, ...]:
    """Return the argv that starts a program through the host's `exec` wrapper (docs/execution.md)."""
    words = [str(layout.exec), layout.instance_mark(program.name), str(program.log)]
    for option, value in (("--env-file", program.env_file), ("--wanted", program.wanted), ("--cwd", program.cwd)):
        words += [option, str(value)] if value else []
    words += ["--limit-memory", str(program.memory_bytes // 1024)] if program.memory_bytes else []
    words += ["--limit-files", str(program.files)] if program.files else []
    words += [] if program.wanted else ["--headless", program.stop_signal]
    return (*words, "--", *program.argv)


def program_of(host: SupervisedHost, name: str) -> Program:
    """Return a program by its name. Raises StopIteration if there is none."""
    return next(program for program in host.programs if program.name == name)


def ended(program: Program, layout: HostLayout) -> Command:
    """Return what ends whatever of a program lives on without its supervisor, and fails if something cannot be ended (docs/execution.md)."""
    words = ("/bin/sh", str(layout.exec), layout.instance_mark(program.name), str(program.log))
    seconds = math.ceil(program.stop_seconds)
    touch = Touch(program.subject, Effect.RUNTIME)
    return Command((*words, "--end", program.stop_signal, "--within", str(seconds), "--"), touch=touch, timeout_seconds=seconds + KILL_SECONDS)


def living(program: Program, layout: HostLayout) -> Command:
    """Return what lists the processes of a program by the mark in their environment, whether or not its supervisor lives; reads only."""
    find = 'grep -szlxF "MANOR_INSTANCE=$1" /proc/[0-9]*/environ'
    return Command(("sh", "-c", find, "sh", layout.instance_mark(program.name)), Touch(program.subject), ok_codes=frozenset({0, 1, 2}))


class Supervisor(ABC):
    """A product that keeps programs running."""

    name: str
    is_default: bool = False
    """Used where the estate names none."""

    @abstractmethod
    def render(self, host: SupervisedHost) -> tuple[SupervisorFile, ...]:
        """Return its files, sorted by name."""

    @abstractmethod
    def folders(self, host: SupervisedHost) -> tuple[MakeFolder, ...]:
        """Return the folders that have to be there before its files are checked or it is started."""

    @abstractmethod
    def check(self, host: SupervisedHost, etc: HostPath) -> Command:
        """Return the vendor's own check of the files in `etc`."""

    @abstractmethod
    def parse_check(self, completed: Completed) -> tuple[str, ...]:
        """Return what it refuses, in its words; empty: accepted."""

    @abstractmethod
    def start(self, host: SupervisedHost) -> Detached | Command:
        """Return how the supervisor itself is started so that it outlives us."""

    @abstractmethod
    def stop(self, host: SupervisedHost) -> tuple[Act, ...]:
        """Return the acts that end the supervisor and every program of it."""

    @abstractmethod
    def pid(self, host: SupervisedHost) -> Act:
        """Return the act that asks a running supervisor for its pid."""

    @abstractmethod
    def parse_pid(self, completed: Completed) -> int:
        """Return the pid."""

    @abstractmethod
    def update(self, host: SupervisedHost, added: tuple[str, ...], changed: tuple[str, ...], removed: tuple[str, ...]) -> tuple[Act, ...]:
        """Return the acts that make it take changed definitions over, touching no other program."""

    @abstractmethod
    def parse_done(self, act: Act, completed: Completed) -> str | None:
        """Return what went wrong with an act of `stop`, `update` or of one program; None: it is done, or was done before."""

    @abstractmethod
    def status(self, host: SupervisedHost) -> Act:
        """Return the act that reads every program's state."""

    @abstractmethod
    def parse_status(self, completed: Completed) -> tuple[ProgramView, ...]:
        """Return the programs, sorted by name."""

    @abstractmethod
    def start_program(self, host: SupervisedHost, name: str) -> Act:
        """Return the act that starts a program; starting a running one is no error."""

    @abstractmethod
    def stop_program(self, host: SupervisedHost, name: str, wait_seconds: float) -> Act:
        """Return the act that stops a program and returns when it is gone; stopping a stopped one is no error."""

    @abstractmethod
    def signal_program(self, host: SupervisedHost, name: str, signal: str) -> Act:
        """Return the act that sends a signal."""
