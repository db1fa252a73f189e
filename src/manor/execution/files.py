"""Carries out file acts on this machine: beside the target first, made durable, then renamed.

Invariant: a target is at every moment wholly what it was or wholly what it is to be; a failed act leaves it as it was and takes its own traces away.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from manor.execution.archives import unpack
from manor.execution.durable import Disk
from manor.execution.values import FileAct, HostPath, MakeFolder, PutFile, PutLink, PutTree, Remove

TEMPORARY = re.compile(r"\.manor-(?P<pid>[0-9]+)-[0-9]+$")
FOLDER_MODE = 0o755
_count = itertools.count()


def carry_out(disk: Disk, act: FileAct) -> None:
    """Carry out one act. Raises OSError; for an archive also Refused and TimedOut."""
    path = Path(act.path)
    match act:
        case PutFile(content=content, mode=mode):
            _put(disk, path, lambda new: _write(disk, new, content, mode))
        case PutLink(target=target):
            _put(disk, path, lambda new: disk.link(new, str(target)))
        case PutTree():
            _put_tree(disk, path, lambda new: unpack(disk, new, act))
        case MakeFolder(mode=mode):
            _make_folder(disk, path, mode)
        case Remove():
            _remove(disk, path)


def beside(path: Path) -> Path:
    """Return a new hidden name in the same folder, which no tool reads by its ending; it tells whose it is."""
    return path.with_name(f".{path.name}.manor-{os.getpid()}-{next(_count)}")


def followed(path: HostPath) -> HostPath:
    """Return where a path really lies: links in its parents followed, its own last name kept (a link is replaced, not followed)."""
    return HostPath(os.path.realpath(path.parent)) / path.name if path.name else HostPath(os.path.realpath(path))


def _put(disk: Disk, path: Path, create: Callable[[Path], None]) -> None:
    _sweep(disk, path)
    new = beside(path)
    try:
        create(new)
        disk.rename(new, path)
    except BaseException:
        _discard(disk, new)
        raise
    disk.sync(path.parent)


def _put_tree(disk: Disk, path: Path, create: Callable[[Path], None]) -> None:
    if not is_folder(path):
        _put(disk, path, create)


def _write(disk: Disk, path: Path, content: bytes, mode: int) -> None:
    disk.write(path, [content], mode)
    disk.sync(path)


def _make_folder(disk: Disk, path: Path, mode: int) -> None:
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        with suppress(FileExistsError):
            disk.make_folder(folder, mode if folder == path else FOLDER_MODE)
        disk.sync(folder.parent)
    found = path.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(20, "is there and is not a folder", str(path))
    if stat.S_IMODE(found.st_mode) != mode:
        disk.set_mode(path, mode)


def _remove(disk: Disk, path: Path) -> None:
    _sweep(disk, path)
    if not os.path.lexists(path):
        return
    if not is_folder(path):
        disk.unlink(path)
        disk.sync(path.parent)
        return
    gone = beside(path)
    disk.rename(path, gone)
    disk.sync(path.parent)
    disk.remove_tree(gone)


def _sweep(disk: Disk, path: Path) -> None:
    """Take away what a controller that was killed in the middle of an act left beside this path."""
    prefix = f".{path.name}.manor-"
    with suppress(FileNotFoundError):
        for left in path.parent.iterdir():
            match = TEMPORARY.search(left.name) if left.name.startswith(prefix) else None
            if match and not Path("/proc", match["pid"]).exists():
                _discard(disk, left)


def _discard(disk: Disk, path: Path) -> None:
    with suppress(FileNotFoundError):
        if is_folder(path):
            disk.remove_tree(path)
        else:
            disk.unlink(path)


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder itself, and not a link to one."""
    return path.is_dir() and not path.is_symlink()
