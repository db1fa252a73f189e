"""Carries out file acts on this machine: beside the target first, made durable, then renamed.

Invariant: a target is at every moment wholly what it was or wholly what it is to be; a failed act leaves it as it was and takes its own traces away.
Only a folder that can't be removed whole is gone from its place all the same; the error says where the rest is.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from manor.errors import NotRestored
from manor.execution.archives import unpack
from manor.execution.durable import Disk, beside, is_folder, is_rest, put, remove_each, sweep, told_stays, write_file
from manor.execution.values import FileAct, HostPath, MakeFolder, PutFile, PutLink, PutTree, Remove

FOLDER_MODE = 0o755


def carry_out(disk: Disk, act: FileAct) -> None:
    """Carry out one act. Raises OSError; for an archive also Refused and TimedOut; NotRestored if a folder that is to be gone is so only in part."""
    path = Path(act.path)
    match act:
        case PutFile(content=content, mode=mode):
            put(disk, path, lambda new: write_file(disk, new, content, mode))
        case PutLink(target=target):
            put(disk, path, lambda new: disk.link(new, str(target)))
        case PutTree():
            if not is_folder(path):
                put(disk, path, lambda new: unpack(disk, new, act))
        case MakeFolder(mode=mode, is_own=is_own):
            _make_folder(disk, path, mode, is_own=is_own)
        case Remove():
            _remove(disk, path)


def followed(path: HostPath) -> HostPath:
    """Return where a path really lies, all links followed."""
    return HostPath(os.path.realpath(path))


def place_of(path: HostPath) -> HostPath:
    """Return where an act on a path really happens: links in its parents followed, its own last name kept (a link is replaced, not followed)."""
    return followed(path.parent) / path.name if path.name else followed(path)


def _make_folder(disk: Disk, path: Path, mode: int, *, is_own: bool) -> None:
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        with suppress(FileExistsError):
            disk.make_folder(folder, mode if folder == path else FOLDER_MODE)
        disk.sync(folder.parent)
    if is_own:
        _require_own(path)
    found = path.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(20, "is there and is not a folder", str(path))
    if stat.S_IMODE(found.st_mode) != mode:
        disk.set_mode(path, mode)


def _require_own(path: Path) -> None:
    """Raise PermissionError unless the path itself, not what a link leads to, is ours. Whoever owns a folder can exchange what is in it."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise PermissionError(errno.EPERM, f"it is a link to {path.readlink()}; whoever made it could exchange what is put there. Remove it", str(path))
    if found.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, f"it belongs to the user with the id {found.st_uid}, who could exchange what is put there. Remove it", str(path))


def _remove(disk: Disk, path: Path) -> None:
    sweep(disk, path)
    if not os.path.lexists(path):
        return
    if not is_folder(path):
        disk.unlink(path)
        disk.sync(path.parent)
        return
    gone = path
    if not is_rest(path.name):  # a rest of an earlier removal is out of its place already
        gone = beside(path)
        disk.rename(path, gone)
        disk.sync(path.parent)
    try:
        disk.remove_tree(gone)
    except OSError as error:
        if stays := remove_each(gone):
            raise NotRestored(f"{path} is gone from its place, but {told_stays(stays)}; remove {gone} by hand") from error
