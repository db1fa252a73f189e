"""Ownership and `untouchable`, enforced where acts happen (docs/ownership.md).

Invariant: pure; says yes by returning and no by raising NotOurs with the rule's name. Runners call it before every act.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

from manor.errors import NotOurs
from manor.execution.values import (
    Act,
    Command,
    Effect,
    HostPath,
    HttpRequest,
    MakeFolder,
    PutFile,
    PutLink,
    PutTree,
    Remove,
    SocketCommand,
    Touch,
)


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
        for path in touched_paths(act):
            self._check_path(path)
        for path in written_paths(act):
            self._check_root(path)

    def readable(self, path: HostPath) -> HostPath:
        """Return the path, or raise NotOurs if not even reading is allowed."""
        self._check_level(Touch(effect=Effect.READ))
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

    def _check_path(self, path: HostPath) -> None:
        plain = normal(path)
        for forbidden in self.untouchable.paths:
            if is_inside(plain, forbidden) or is_inside(forbidden, plain):
                raise NotOurs(f"{self.host}: untouchable.paths: {forbidden} is not Manor's to touch (asked for {plain}); nothing was done")

    def _check_root(self, path: HostPath) -> None:
        if self.roots and not any(is_inside(normal(path), root) for root in self.roots):
            raise NotOurs(f"{self.host}: {path} lies outside {', '.join(map(str, self.roots))}, where Manor keeps its files; nothing was done")


def touched_paths(act: Act) -> tuple[HostPath, ...]:
    """Return every path that an act names, in its arguments too."""
    match act:
        case Command(argv=argv, cwd=cwd):
            named = tuple(HostPath(part) for word in argv if isinstance(word, str) for part in path_parts(word))
            return (*act.touch.paths, *named, *((cwd,) if cwd else ()))
        case SocketCommand(socket=socket):
            return (*act.touch.paths, socket)
        case HttpRequest(socket=socket):
            return (*act.touch.paths, *((socket,) if socket else ()))
        case _:
            return (*act.touch.paths, *written_paths(act))


def written_paths(act: Act) -> tuple[HostPath, ...]:
    """Return the path that a file act writes."""
    match act:
        case PutFile(path=path) | PutLink(path=path) | PutTree(path=path) | MakeFolder(path=path) | Remove(path=path):
            return (path,)
        case _:
            return ()


def path_parts(word: str) -> tuple[str, ...]:
    """Return the absolute paths in one argument: itself, or what follows `=` or `:`."""
    pieces = (word, *word.split("=")[1:], *word.split(":")[1:])
    return tuple(piece for piece in pieces if piece.startswith("/") and piece != "/")


def normal(path: HostPath) -> HostPath:
    """Return the path without `.` and `..`."""
    return HostPath(posixpath.normpath(path))


def is_inside(path: HostPath, folder: HostPath) -> bool:
    """Tell whether path is folder or lies in it."""
    return path == folder or folder in path.parents
