"""Writes deterministic tar archives: the same files make the same bytes, wherever and whenever they are packed.

Invariant: what leads outside (absolute names, `..`, links, devices) is refused before a byte is written.
Sorted by path; times 0, owners 0, modes 0644 or 0755; only empty folders are entries. Compiled Python whose validity hangs on a file's time
is left out (PEP 552: those made with `--invalidation-mode unchecked-hash` are kept), because every time in the archive is 0.
Sources: https://reproducible-builds.org/docs/archives/, https://peps.python.org/pep-0552/
"""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Literal

from manor.errors import Refused

CHUNK = 1024 * 1024
MARK_OF_VENV = "pyvenv.cfg"
HASH_BASED = 1


@dataclass(frozen=True)
class Entry:
    """One thing to pack; `open` gives a file's content."""

    path: str
    kind: Literal["file", "link", "folder"]
    open: Callable[[], IO[bytes]]
    size: int = 0
    is_executable: bool = False
    target: str = ""


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold."""

    size_bytes: int = 2 * 1024**3
    entries: int = 200_000


def opened(path: Path) -> IO[bytes]:
    """Open a file's content."""
    return path.open("rb")


def nothing() -> IO[bytes]:
    """Open the content of what has none."""
    return io.BytesIO()


def folder_entries(folder: Path, is_wanted: Callable[[str], bool] = lambda _path: True) -> list[Entry]:
    """Return what is in a folder; links are kept as links. Raises Refused for sockets, pipes and devices."""
    return sorted(_walk(folder, "", is_wanted), key=lambda entry: entry.path)


def _walk(folder: Path, prefix: str, is_wanted: Callable[[str], bool]) -> Iterator[Entry]:
    with os.scandir(folder) as found:
        items = list(found)
    for item in items:
        path = prefix + item.name
        if item.is_dir(follow_symlinks=False):
            yield from _walk_folder(Path(item.path), path, is_wanted)
        elif not is_wanted(path):
            continue
        elif item.is_symlink():
            yield Entry(path, "link", nothing, target=str(Path(item.path).readlink()))
        elif item.is_file(follow_symlinks=False):
            if is_timed_bytecode(path, partial(opened, Path(item.path))):
                continue
            found_there = item.stat(follow_symlinks=False)
            yield Entry(path, "file", partial(opened, Path(item.path)), found_there.st_size, bool(found_there.st_mode & stat.S_IXUSR))
        else:
            raise Refused(f"{path}: is a socket, pipe or device; only files, folders and links can be packed, leave it out with `exclude`")


def _walk_folder(folder: Path, path: str, is_wanted: Callable[[str], bool]) -> Iterator[Entry]:
    if any(folder.iterdir()):
        yield from _walk(folder, f"{path}/", is_wanted)
    elif is_wanted(path):
        yield Entry(path, "folder", nothing)


def is_timed_bytecode(path: str, content: Callable[[], IO[bytes]]) -> bool:
    """Tell whether this is compiled Python that is checked against its source's time."""
    if not path.endswith(".pyc"):
        return False
    with content() as file:
        head = file.read(8)
    return len(head) < 8 or not int.from_bytes(head[4:], "little") & HASH_BASED


def check(entries: Iterable[Entry], limits: Limits, what: str) -> None:
    """Raise Refused for anything that must not be in an archive, naming it."""
    found = list(entries)
    if len(found) > limits.entries:
        raise Refused(f"{what}: holds more than {limits.entries} files; leave out what the service does not need")
    total = sum(entry.size for entry in found)
    if total > limits.size_bytes:
        raise Refused(f"{what}: holds {total} bytes, more than the {limits.size_bytes} allowed; leave out what the service does not need")
    seen: set[str] = set()
    for entry in found:
        if wrong := refusal(entry, seen):
            raise Refused(f"{what}: {entry.path!r} {wrong}")
        seen.add(entry.path)
    files = {entry.path for entry in found if entry.kind != "folder"}
    for entry in found:
        for parent in parents(entry.path):
            if parent in files:
                raise Refused(f"{what}: {entry.path!r} lies below {parent!r}, which is no folder")


def refusal(entry: Entry, seen: set[str]) -> str:
    """Return what is wrong with an entry, or an empty text."""
    path = entry.path
    if path != posixpath.normpath(path) or path.startswith(("/", "../")) or path in ("", ".", "..") or not path.isprintable():
        return "is not a plain path inside the archive"
    if path in seen:
        return "is in it twice"
    if posixpath.basename(path) == MARK_OF_VENV:
        return "marks a virtual environment, which works only where it was made; install with `pip install --target lib` instead"
    if entry.kind == "link" and not (entry.target and entry.target.isprintable()):
        return f"links to {entry.target!r}, which is no plain path"
    if entry.kind == "link" and not stays_inside(path, entry.target):
        return f"links to the outside ({entry.target}); copy the file instead"
    return ""


def stays_inside(path: str, target: str) -> bool:
    """Tell whether a link leads to a place in the archive."""
    place = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return not target.startswith("/") and place != ".." and not place.startswith("../")


def parents(path: str) -> Iterator[str]:
    """Yield the folders above a path."""
    while path := posixpath.dirname(path):
        yield path


def write_tar(file: IO[bytes], entries: Iterable[Entry]) -> str:
    """Write the archive, return its sha256 (hex). Raises Refused if a file changes meanwhile."""
    hashing = _Hashing(file)
    with tarfile.open(fileobj=hashing, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK) as tar:
        for entry in sorted(entries, key=lambda one: one.path):
            with entry.open() as content:
                _add(tar, entry, content)
    return hashing.digest.hexdigest()


def _add(tar: tarfile.TarFile, entry: Entry, content: IO[bytes]) -> None:
    try:
        tar.addfile(header(entry), content if entry.kind == "file" else None)
        is_longer = entry.kind == "file" and bool(content.read(1))
    except OSError as error:
        if error.errno is not None:
            raise
        raise Refused(f"{entry.path!r} became shorter while it was packed") from error
    if is_longer:
        raise Refused(f"{entry.path!r} became longer while it was packed")


def header(entry: Entry) -> tarfile.TarInfo:
    """Return an entry's header, without anything of the machine it comes from."""
    info = tarfile.TarInfo(entry.path)
    info.mode = 0o755 if entry.is_executable or entry.kind == "folder" else 0o644
    info.size = entry.size if entry.kind == "file" else 0
    info.type = {"file": tarfile.REGTYPE, "link": tarfile.SYMTYPE, "folder": tarfile.DIRTYPE}[entry.kind]
    info.linkname = entry.target
    return info


class _Hashing(io.RawIOBase):
    """Hashes what passes through."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:  # type: ignore[override] # tarfile writes bytes only
        self.digest.update(data)
        return self.file.write(data)
