"""Writes every native file of an environment into a folder, for people and for review.

Invariant: the same estate on the same addresses gives the same bytes; private keys and certificates are left out.
Invariant: only a folder that is empty, or that was written here before, is filled.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from manor.errors import UsageError
from manor.reconcile.desired import DesiredFile, DesiredHost
from manor.workflows.context import Context
from manor.workflows.snapshots import put

MARK = ".manor-render"
SAYS = b"Written by `manor render`, which replaces everything here.\n"


@dataclass(frozen=True)
class Rendered:
    """One host's files."""

    environment: str
    host: str
    folder: Path
    files: tuple[str, ...]
    left_out: tuple[str, ...]
    """Keys and certificates: they are in the state folder only."""


def render_into(context: Context, environments: Iterable[str], host: str, folder: Path) -> list[Rendered]:
    """Write the files of hosts below `<folder>/<environment>/<host>/`. Raises UsageError for a folder with other things, or no such host."""
    chosen = [(name, one) for name in environments for one in context.desired(context.wiring(name)).values() if host in ("", one.name)]
    if not chosen:
        raise UsageError(f"there is no host {host!r}")
    empty(folder)
    return [render_host(environment, one, folder / environment / one.name) for environment, one in chosen]


def empty(folder: Path) -> None:
    """Make a folder that holds our mark and nothing else. Raises UsageError if it holds what is not ours."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{folder} is not a folder of its own; name one that is empty or not there")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise UsageError(f"{folder} holds other things; name a folder that is empty or not there")
    if folder.exists():
        shutil.rmtree(folder)
    put(folder / MARK, SAYS, 0o644)


def render_host(environment: str, host: DesiredHost, folder: Path) -> Rendered:
    """Write one host's files, each at its path below the host's root."""
    written = tuple(shown(host))
    for file in written:
        put(folder / inside(file, host), file.content, file.mode)
    left = tuple(inside(file, host) for file in host.files if file not in written)
    return Rendered(environment, host.name, folder, tuple(inside(file, host) for file in written), left)


def shown(host: DesiredHost) -> Iterator[DesiredFile]:
    """Yield the files that may be shown: all but keys and certificates."""
    return (file for file in host.files if not file.is_secret and host.layout.tls not in file.path.parents)


def inside(file: DesiredFile, host: DesiredHost) -> str:
    """Return a file's path below its host's root."""
    return file.path.relative_to(host.layout.root).as_posix()
