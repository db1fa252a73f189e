"""Unpacks a tar archive into a folder so that nothing in it can reach outside, whatever the archive says.

Invariant: no file is written through a link: links are made last, and each must then lead to a place inside the folder.
Does not lean on tarfile's own extraction filters: Python 3.11.2 (Debian 12) has none.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import tarfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from manor.errors import Refused, TimedOut
from manor.execution.durable import Disk
from manor.execution.values import PutTree

CHUNK = 1024 * 1024


def unpack(disk: Disk, folder: Path, act: PutTree) -> None:
    """Unpack the archive of an act into a new folder, durably. Raises Refused (digest, unsafe member), TimedOut, OSError."""
    deadline = time.monotonic() + act.timeout_seconds
    check_digest(Path(act.archive), act.digest)
    disk.make_folder(folder, 0o755)
    try:
        with tarfile.open(act.archive) as archive:
            _unpack_members(disk, folder, archive, deadline)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise Refused(f"{act.archive}: is not a sound tar archive ({error})") from error


def check_digest(archive: Path, digest: str) -> None:
    """Raise Refused unless the file has this sha256 (hex)."""
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise Refused(f"{archive}: sha256 is {found}, expected {digest}; nothing was unpacked")


def refusal(member: tarfile.TarInfo) -> str | None:
    """Return what is wrong with a member, or None: absolute names, `..`, devices, links to the outside are."""
    name = member.name
    if name.startswith("/") or ".." in name.split("/"):
        return "its name leads outside"
    if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        return "is neither a file, a folder nor a link"
    if member.issym() and not _stays_inside(posixpath.join(posixpath.dirname(name), member.linkname)):
        return f"links to the outside ({member.linkname})"
    if member.islnk() and not _stays_inside(member.linkname):
        return f"links to the outside ({member.linkname})"
    return None


def _stays_inside(target: str) -> bool:
    plain = posixpath.normpath(target)
    return not plain.startswith("/") and plain.split("/")[0] != ".."


def _unpack_members(disk: Disk, folder: Path, archive: tarfile.TarFile, deadline: float) -> None:
    links: list[tuple[Path, str]] = []
    for member in archive:
        if wrong := refusal(member):
            raise Refused(f"{archive.name!r}: {member.name}: {wrong}; nothing was unpacked")
        if time.monotonic() > deadline:
            raise TimedOut(f"{archive.name!r}: unpacking took too long; nothing was unpacked")
        target = folder / posixpath.normpath(member.name)
        if member.issym():
            links.append((target, member.linkname))
            continue
        _make_parents(disk, folder, target if member.isdir() else target.parent)
        if not member.isdir():
            _write_file(disk, folder, target, member, archive)
    _make_links(disk, folder, links)
    disk.sync_all(folder)


def _make_parents(disk: Disk, root: Path, folder: Path) -> None:
    missing: set[Path] = set()
    while folder != root and not folder.is_dir():
        missing.add(folder)
        folder = folder.parent
    for path in sorted(missing):
        disk.make_folder(path, 0o755)


def _write_file(disk: Disk, folder: Path, target: Path, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
    try:
        with _open_member(folder, member, archive) as source:
            disk.write(target, _chunks(source), (member.mode & 0o755) | 0o600)
    except FileExistsError:
        raise Refused(f"{archive.name!r}: {member.name}: is in the archive twice; nothing was unpacked") from None


def _open_member(folder: Path, member: tarfile.TarInfo, archive: tarfile.TarFile) -> IO[bytes]:
    """Open what a file or hard link holds; a hard link is a copy of a file unpacked before it."""
    source = archive.extractfile(member) if member.isfile() else None
    if source is not None:
        return source
    before = folder / posixpath.normpath(member.linkname)
    if not before.is_file():
        raise Refused(f"{archive.name!r}: {member.name}: links to nothing before it; nothing was unpacked")
    return before.open("rb")


def _chunks(source: IO[bytes]) -> Iterator[bytes]:
    while chunk := source.read(CHUNK):
        yield chunk


def _make_links(disk: Disk, root: Path, links: list[tuple[Path, str]]) -> None:
    inside = root.resolve()
    for path, target in links:
        _make_parents(disk, root, path.parent)
        if path.parent.resolve() != inside / path.parent.relative_to(root):
            raise Refused(f"{path.relative_to(root)}: lies behind a link; nothing was unpacked")
        try:
            disk.link(path, target)
        except FileExistsError:
            raise Refused(f"{path.relative_to(root)}: is in the archive twice; nothing was unpacked") from None
    for path, target in links:
        if not Path(os.path.realpath(path)).is_relative_to(inside):
            raise Refused(f"{path.relative_to(root)}: links to the outside ({target}); nothing was unpacked")
