"""Reads, hashes and lists what is on this machine's disk; blocking, so runners call it in a thread."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from manor.execution.values import HostPath


def read(paths: Sequence[HostPath]) -> dict[HostPath, bytes]:
    """Return the contents of the regular files among these paths."""
    found = {}
    for path in paths:
        with suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISREG(Path(path).stat().st_mode):
                found[path] = Path(path).read_bytes()
    return found


def digest(paths: Sequence[HostPath]) -> dict[HostPath, str]:
    """Return sha256 (hex) of files, `-> target` of links, `folder`, or `other` (sockets, devices) of what exists."""
    found = {}
    for path in paths:
        with suppress(FileNotFoundError, NotADirectoryError):
            found[path] = _digest_one(Path(path))
    return found


def listings(folders: Sequence[HostPath]) -> dict[HostPath, tuple[str, ...]]:
    """Return the names in each folder, sorted; empty where there is none."""
    return {folder: _names_in(Path(folder)) for folder in folders}


def tail(path: HostPath, offset: int, most: int) -> bytes:
    """Return up to `most` bytes from an offset; nothing if there is no such file."""
    with suppress(FileNotFoundError), Path(path).open("rb") as file:
        file.seek(offset)
        return file.read(most)
    return b""


def _names_in(folder: Path) -> tuple[str, ...]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return tuple(sorted(entry.name for entry in folder.iterdir()))
    return ()


def _digest_one(path: Path) -> str:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return f"-> {path.readlink()}"
    if stat.S_ISDIR(mode):
        return "folder"
    if not stat.S_ISREG(mode):
        return "other"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
