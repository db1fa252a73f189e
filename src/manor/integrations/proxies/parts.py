"""How a product takes part in a program that somebody else runs: one file of ours in their folder, judged together with theirs.

Invariant: pure, like the rest of the contract; nothing of theirs is ever written, and of ours one file only.
"""

from __future__ import annotations

import fnmatch
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from signal import Signals

from manor.errors import ManorError
from manor.estate.topology import TierNode
from manor.execution.values import Act, Command, Completed, Effect, FileAct, HostPath, Touch


@dataclass(frozen=True)
class Found:
    """What is there of somebody else's program, as far as a check has to know it."""

    main: bytes
    """Their main file."""
    beside: tuple[str, ...]
    """The names in the main file's folder."""
    into: tuple[str, ...]
    """The names in the folder of includes, ours among them if it is there."""
    argv: tuple[str, ...] = ()
    """The command line of their master."""


@dataclass(frozen=True)
class Judging:
    """How their files are judged with ours or without: files to be made in a folder of their own, and the vendor's check."""

    acts: tuple[FileAct, ...]
    command: Command


class Part(ABC):
    """A product as a part of a program that somebody else runs."""

    process: str
    """The name of the master's process, as the kernel knows it."""
    signal: str
    """The signal that makes their master take its files as they are now, without losing a request."""
    logs_here: bool = True
    """Whether our sections can write the access log into Manor's folder."""
    reopen: str = ""
    """The signal that makes their master open its logs anew after ours was renamed."""

    @abstractmethod
    def own_file(self, node: TierNode) -> str:
        """Return which of the rendered files stands in their folder; the others stay in Manor's."""

    @abstractmethod
    def obstacles(self, node: TierNode, found: Found) -> tuple[str, ...]:
        """Return what of theirs has to be different before our file can take part, and how."""

    @abstractmethod
    def judge(self, node: TierNode, found: Found, folder: HostPath, ours: bytes | None) -> Judging:
        """Return how to judge their main file with our file in place (None: without it), in `folder`."""

    @abstractmethod
    def is_loaded(self, node: TierNode, completed: Completed | None) -> bool:
        """Tell from the answer to the proxy's `loaded` (None: nobody answered) whether their program works by any file of ours."""

    def shown(self, node: TierNode) -> Act:
        """Return the act that reads which servers their program has, where ours are in their own file (`manage: runtime`)."""
        raise NotImplementedError(f"{self.process} is not worked over a socket")

    def differences(self, node: TierNode, completed: Completed) -> tuple[str, ...]:
        """Return how these differ from what has to be there, each by its name."""
        raise NotImplementedError(f"{self.process} is not worked over a socket")


@dataclass(frozen=True)
class Master:
    """Their running master."""

    pid: int
    argv: tuple[str, ...]


def parse_pid(content: bytes | None, path: HostPath) -> int:
    """Return the pid in a pid file. Raises ManorError if there is none."""
    text = (content or b"").decode("utf-8", "replace").strip()
    if not (text.isascii() and text.isdigit() and int(text) > 1):
        raise ManorError(f"{path} holds no pid ({text[:20]!r}); Manor does not start this program: start it, or name its pid file")
    return int(text)


def name_file(pid: int) -> HostPath:
    """Return where the kernel tells the name of a process."""
    return HostPath(f"/proc/{pid}/comm")


def argv_file(pid: int) -> HostPath:
    """Return where the kernel tells the command line of a process."""
    return HostPath(f"/proc/{pid}/cmdline")


def signals_file(pid: int) -> HostPath:
    """Return where the kernel tells which signals a process catches."""
    return HostPath(f"/proc/{pid}/status")


def is_caught(status: bytes, signal: str) -> bool:
    """Tell whether a process catches a signal, or keeps it for later: another one would be ended by it."""
    bit = 1 << (Signals[f"SIG{signal}"] - 1)
    masks = dict(line.split(":", 1) for line in status.decode("utf-8", "replace").splitlines() if ":" in line)
    return any(int(masks.get(name, "0").strip() or "0", 16) & bit for name in ("SigCgt", "SigBlk"))


def parse_argv(content: bytes) -> tuple[str, ...]:
    """Return a command line from the kernel's form."""
    return tuple(content.decode("utf-8", "replace").rstrip("\0").split("\0"))


def tell(node: TierNode, signal: str, master: Master) -> Command:
    """Return the act that sends their master a signal, by a shell's own `kill`."""
    return Command(("/bin/sh", "-c", 'kill -s "$1" "$2"', "sh", signal, str(master.pid)), Touch(node.subject, Effect.RUNTIME))


def is_named(name: str, patterns: Sequence[str]) -> bool:
    """Tell whether one of the patterns of a shell means a name."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
