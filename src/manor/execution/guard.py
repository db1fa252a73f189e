"""Ownership and `untouchable`, enforced where acts happen (docs/ownership.md).

Invariant: pure; says yes by returning and no by raising NotOurs with the rule's name. Runners call it before every act.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from urllib.parse import urlsplit

from manor.errors import NotOurs
from manor.execution.values import (
    Act,
    Command,
    Connect,
    Effect,
    HostPath,
    HttpRequest,
    MakeFolder,
    PutFile,
    PutLink,
    PutTree,
    Remove,
    Secret,
    SocketCommand,
    Touch,
)

SEPARATORS = re.compile(r"""[\s=:,;'"<>|&()]+""")
ATTACHED = re.compile("^-[A-Za-z](?=/)")
DEFAULT_PORTS = {"http": 80, "https": 443}


class Manage(IntEnum):
    """How far Manor may go with a host, tier, service or backing service, weakest first."""

    NEVER = 0
    OBSERVE = 1
    RUNTIME = 2
    INCLUDE = 3
    FULL = 4


@dataclass(frozen=True)
class Untouchable:
    """What on a host is somebody else's."""

    paths: tuple[HostPath, ...] = ()
    ports: tuple[int, ...] = ()
    units: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Guard:
    """What may be done on one host."""

    host: str
    manage: Manage = Manage.FULL
    subjects: Mapping[str, Manage] = field(default_factory=dict)
    """`tier/…` and `service/…` that are managed otherwise than the host."""
    untouchable: Untouchable = Untouchable()
    roots: tuple[HostPath, ...] = ()
    """Where file acts may happen; empty: anywhere that is not untouchable."""

    def check(self, act: Act) -> None:
        """Raise NotOurs, naming the rule, unless the act is allowed."""
        self._check_level(act.touch)
        self._check_names(act.touch)
        self._check_port(act)
        if self.untouchable.paths:  # looking for paths in every word of a command takes longer than many an act
            for path in touched_paths(act):
                self._check_path(path, str(path), act.touch)
            for path in hidden_paths(act):
                self._check_path(path, "a secret", act.touch)
        for path in written_paths(act):
            self._check_root(path)

    def readable(self, path: HostPath, subject: str = "host") -> HostPath:
        """Return the path, or raise NotOurs, naming the rule, if not even reading is allowed."""
        touch = Touch(subject, Effect.READ)
        self._check_level(touch)
        if self.untouchable.paths:
            self._check_path(normal(path), str(path), touch)
        return path

    def followed(self, follow: Callable[[HostPath], HostPath]) -> Guard:
        """Return this guard with its paths as they really lie on the host; `follow` follows the links of a path."""
        paths = (*self.untouchable.paths, *map(follow, self.untouchable.paths))
        return replace(self, untouchable=replace(self.untouchable, paths=paths), roots=(*self.roots, *map(follow, self.roots)))

    def _check_level(self, touch: Touch) -> None:
        level = min(self.manage, self.subjects.get(touch.subject, self.manage))
        if level < touch.effect:
            rule = f"manage: {level.name.lower()}"
            raise NotOurs(f"{self.host}: {touch.subject}: `{rule}` allows no act of the kind {touch.effect.name.lower()}; nothing was done")

    def _check_names(self, touch: Touch) -> None:
        mine: tuple[tuple[str, Iterable[object], Iterable[object]], ...] = (
            ("ports", touch.ports, self.untouchable.ports),
            ("units", touch.units, self.untouchable.units),
            ("users", touch.users, self.untouchable.users),
            ("containers", touch.containers, self.untouchable.containers),
        )
        for kind, touched, forbidden in mine:
            for hit in sorted(set(map(str, touched)) & set(map(str, forbidden))):
                raise NotOurs(f"{self.host}: untouchable.{kind}: {hit} is not Manor's to touch ({touch.subject}); nothing was done")

    def _check_port(self, act: Act) -> None:
        port = port_of(act)
        if port in self.untouchable.ports:
            raise NotOurs(f"{self.host}: untouchable.ports: {port} is not Manor's to touch ({act.touch.subject}); nothing was done")

    def _check_path(self, path: HostPath, shown: str, touch: Touch) -> None:
        """Refuse what lies in an untouchable path, and to change what holds one; to read what holds one is allowed."""
        for forbidden in map(normal, self.untouchable.paths):
            holds_it = touch.effect > Effect.READ and is_inside(forbidden, path)
            if is_inside(path, forbidden) or holds_it:
                raise NotOurs(f"{self.host}: untouchable.paths: {forbidden} is not Manor's to touch (asked for {shown}); nothing was done")

    def _check_root(self, path: HostPath) -> None:
        if self.roots and not any(is_inside(normal(path), normal(root)) for root in self.roots):
            raise NotOurs(f"{self.host}: {path} lies outside {', '.join(map(str, self.roots))}, where Manor keeps its files; nothing was done")


def touched_paths(act: Act) -> tuple[HostPath, ...]:
    """Return every path that an act names in clear, in its arguments too, without `.` and `..`."""
    match act:
        case Command(argv=argv, env=env, cwd=cwd):
            named = paths_in((word for word in (*argv, *env.values()) if isinstance(word, str)), cwd)
        case SocketCommand(socket=socket):
            named = (socket,)
        case HttpRequest(socket=socket, ca_file=ca_file):
            named = tuple(path for path in (socket, ca_file) if path)
        case PutLink(path=path, target=target):
            named = (path, path.parent / target)
        case _:
            named = written_paths(act)
    return tuple(normal(path) for path in (*act.touch.paths, *named))


def hidden_paths(act: Act) -> tuple[HostPath, ...]:
    """Return the paths in an act's secrets; they are checked like others and not shown."""
    match act:
        case Command(argv=argv, env=env, cwd=cwd):
            return paths_in((word.value for word in (*argv, *env.values()) if isinstance(word, Secret)), cwd)
        case _:
            return ()


def written_paths(act: Act) -> tuple[HostPath, ...]:
    """Return the path that a file act writes."""
    match act:
        case PutFile(path=path) | PutLink(path=path) | PutTree(path=path) | MakeFolder(path=path) | Remove(path=path):
            return (path,)
        case _:
            return ()


def port_of(act: Act) -> int | None:
    """Return the port that a connection or an HTTP request goes to; None over a Unix socket, and for other acts."""
    if isinstance(act, Connect):
        return act.port
    if not isinstance(act, HttpRequest) or act.socket is not None:
        return None
    try:
        url = urlsplit(act.url)
        return url.port or DEFAULT_PORTS.get(url.scheme)
    except ValueError:
        return None


def paths_in(words: Iterable[str], cwd: HostPath | None) -> tuple[HostPath, ...]:
    """Return the paths in arguments, made absolute from `cwd`, and `cwd` itself: `/a`, `--opt=/a`, `x:/a`, `-I/a`, `../a`, inside a shell's text."""
    start = cwd or HostPath("/")
    pieces = {piece for word in words for piece in path_parts(word)}
    named = sorted(normal(start / piece) for piece in pieces)
    return tuple(path for path in (normal(start), *named) if path != HostPath("/"))


def path_parts(word: str) -> tuple[str, ...]:
    """Return what in one argument may be a path: what stands between separators and holds a `/` or is `..`."""
    pieces = (ATTACHED.sub("", piece) for piece in SEPARATORS.split(word))
    return tuple(piece for piece in pieces if "/" in piece or piece == "..")


def normal(path: HostPath) -> HostPath:
    """Return the path without `.`, `..` and doubled slashes."""
    return HostPath(posixpath.normpath("/" + str(path).lstrip("/")))


def is_inside(path: HostPath, folder: HostPath) -> bool:
    """Tell whether path is folder or lies in it."""
    return path == folder or folder in path.parents
