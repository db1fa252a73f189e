"""What can be done on a host, as values; runners carry them out.

Invariant: no value here does anything, and a `Secret` never shows itself in text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TypeAlias

HostPath: TypeAlias = PurePosixPath

NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, repr=False)
class Secret:
    """A value that prints as `***`; only a runner reveals it, at the last moment."""

    value: str

    def __repr__(self) -> str:
        """Hide the value."""
        return "***"

    __str__ = __repr__


class Effect(IntEnum):
    """What an act does to a host, weakest first; `manage` allows up to one of them (docs/ownership.md)."""

    READ = 1
    RUNTIME = 2
    INCLUDE = 3
    FULL = 4


@dataclass(frozen=True)
class Touch:
    """What an act touches besides its arguments; held against `untouchable`."""

    subject: str = "host"
    """Whose ownership decides: `host`, `tier/<place>-<role>-<product>` or `service/<name>`."""
    effect: Effect = Effect.READ
    paths: tuple[HostPath, ...] = ()
    ports: tuple[int, ...] = ()
    units: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """A program to run to its end, without a shell."""

    argv: tuple[str | Secret, ...]
    touch: Touch = Touch()
    env: Mapping[str, str | Secret] = field(default_factory=lambda: NOTHING, hash=False)
    cwd: HostPath | None = None
    stdin: bytes | None = field(default=None, repr=False)
    timeout_seconds: float = 30.0
    ok_codes: frozenset[int] = frozenset({0})


@dataclass(frozen=True)
class SocketCommand:
    """One line (or several, `;`-joined) of a text protocol over a stream socket of the host, answered until the other side closes."""

    socket: HostPath
    line: str
    touch: Touch = Touch(effect=Effect.RUNTIME)
    timeout_seconds: float = 5.0


@dataclass(frozen=True)
class HttpRequest:
    """An HTTP request that leaves from the host; `socket` for one over a Unix socket."""

    method: str
    url: str
    headers: Mapping[str, str | Secret] = field(default_factory=lambda: NOTHING, hash=False)
    body: bytes | None = field(default=None, repr=False)
    socket: HostPath | None = None
    ca_file: HostPath | None = None
    touch: Touch = Touch()
    timeout_seconds: float = 5.0
    ok_codes: frozenset[int] | None = None
    """None: every answer is an answer. Otherwise others raise CommandFailed."""


@dataclass(frozen=True)
class Connect:
    """Whether something accepts TCP connections; the connection is closed at once."""

    address: str
    port: int
    touch: Touch = Touch()
    timeout_seconds: float = 5.0


@dataclass(frozen=True)
class PutFile:
    """A file to be there with this content and mode: temporary file, fsync, rename, fsync of the folder."""

    path: HostPath
    content: bytes = field(repr=False)
    mode: int = 0o644
    touch: Touch = Touch(effect=Effect.INCLUDE)


@dataclass(frozen=True)
class PutLink:
    """A symbolic link to be there, switched by rename."""

    path: HostPath
    target: HostPath
    touch: Touch = Touch(effect=Effect.INCLUDE)


@dataclass(frozen=True)
class PutTree:
    """A tar archive on the controller unpacked to be this folder as a whole: beside it, then renamed; nothing if it is there already."""

    path: HostPath
    archive: str
    digest: str
    """sha256 of the archive, hex; checked before unpacking."""
    touch: Touch = Touch(effect=Effect.INCLUDE)
    timeout_seconds: float = 300.0


@dataclass(frozen=True)
class MakeFolder:
    """A folder to be there, with parents."""

    path: HostPath
    mode: int = 0o755
    touch: Touch = Touch(effect=Effect.INCLUDE)
    is_own: bool = False
    """It lies where others may write (e.g. `/var/tmp`): one that is a link, or somebody else's, is refused."""


@dataclass(frozen=True)
class Remove:
    """A file, link or whole folder to be gone."""

    path: HostPath
    touch: Touch = Touch(effect=Effect.INCLUDE)
    timeout_seconds: float = 300.0
    """A release has tens of thousands of files."""


FileAct: TypeAlias = PutFile | PutLink | PutTree | MakeFolder | Remove
Act: TypeAlias = Command | SocketCommand | HttpRequest | Connect | FileAct


@dataclass(frozen=True)
class Completed:
    """What a command, socket or request gave back."""

    code: int
    """Exit code, HTTP status, or 0 for a socket that answered."""
    out: bytes = field(default=b"", repr=False)
    err: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: NOTHING, hash=False)
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """Standard output, body or answer, as text."""
        return self.out.decode("utf-8", "replace")


@dataclass(frozen=True)
class Detached:
    """A program that outlives its connection: log, pid and exit code are kept under `folder` (docs/detached-steps.md)."""

    key: str
    """Idempotency key: the same key attaches again, or gives the recorded result."""
    folder: HostPath
    command: Command
    timeout_seconds: float = 3600.0

    @property
    def folder_act(self) -> MakeFolder:
        """The writing in its folder, as an act that a guard can judge."""
        return MakeFolder(self.folder, mode=0o700)


@dataclass(frozen=True)
class DetachedState:
    """How a detached program stands. `code` is None while it runs; `lost` when it died without leaving a code."""

    started: bool
    code: int | None = None
    lost: bool = False
    timed_out: bool = False
    log_bytes: int = 0
