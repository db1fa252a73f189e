"""The few system calls that make a change on disk durable, behind a seam that a test replaces by a recorder.

Invariant: a name that others look up is only ever given to what was written and synced before: write, fsync, rename, fsync of the folder
(docs/execution.md; the order is proved by replaying every prefix of the recorded calls).
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)
LIBC = ctypes.CDLL(None, use_errno=True)

TEMPORARY = re.compile(r"\.manor-(?P<pid>[0-9]+)-[0-9]+$")
_count = itertools.count()


class Disk:
    """The system calls themselves; each one raises OSError. Nothing else in `execution` changes a file."""

    def require(self, path: Path, *, is_trace: bool = False) -> None:
        """Raise OSError if nothing may be begun any more on behalf of whoever acts here."""

    def write(self, path: Path, chunks: Iterable[bytes], mode: int) -> None:
        """Create a file that must not exist yet, with this mode whatever the umask says. Not durable before `sync`."""
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(number, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            os.fchmod(number, mode)

    def link(self, path: Path, target: str) -> None:
        """Create a symbolic link that must not exist yet."""
        path.symlink_to(target)

    def name(self, path: Path, name: Path) -> None:
        """Give a file a second name that must not exist yet."""
        name.hardlink_to(path)

    def make_folder(self, path: Path, mode: int) -> None:
        """Create a folder that must not exist yet, with this mode whatever the umask says."""
        path.mkdir(mode=0o700)
        path.chmod(mode)

    def set_mode(self, path: Path, mode: int) -> None:
        """Give a folder another mode."""
        path.chmod(mode)

    def sync(self, path: Path) -> None:
        """Make what a file or folder holds durable."""
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(number)
        finally:
            os.close(number)

    def sync_all(self, path: Path) -> None:
        """Make everything that was written to the file system of a path durable: one call for a whole tree (syncfs(2))."""
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if LIBC.syncfs(number) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
        finally:
            os.close(number)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file, link or folder another name, replacing a file or link of that name."""
        source.rename(target)

    def unlink(self, path: Path) -> None:
        """Take away a file or link."""
        path.unlink()

    def remove_tree(self, path: Path) -> None:
        """Take away a folder with all under it, also what is write-protected; links in it are not followed."""
        try:
            shutil.rmtree(path)
        except PermissionError:
            open_up(path)
            shutil.rmtree(path)


def open_up(path: Path) -> None:
    """Let us change every folder of a tree that is ours: build tools protect what they downloaded from being written."""
    path.chmod(0o700)
    for place, names, _ in os.walk(path):
        for folder in (Path(place, name) for name in names):
            if not folder.is_symlink():
                folder.chmod(0o700)


def remove_each(path: Path) -> list[OSError]:
    """Take away a file, a link or a tree, each entry on its own; return why something stays. What stays bars nothing else but its own folders.

    For what nobody looks up any more: unlike `remove_tree` it is not over at the first file that can't be removed, e.g. in a folder of root's.
    """
    stays: list[OSError] = []
    folders = [path]
    if not is_folder(path):
        _attempt(path.unlink, stays)
        return stays
    for place, names, files in os.walk(_opened(path), onerror=stays.append):
        here = Path(place)
        links = [name for name in names if (here / name).is_symlink()]
        names[:] = [name for name in names if name not in links]
        for name in (*files, *links):
            _attempt((here / name).unlink, stays)
        folders += [_opened(here / name) for name in names]
    for folder in reversed(folders):
        _attempt(folder.rmdir, stays)
    there = [error for error in stays if os.path.lexists(error.filename)]  # one that may not be looked into may be empty, and then it went
    return [error for error in there if error.errno != errno.ENOTEMPTY] or there


def told_stays(stays: Sequence[OSError]) -> str:
    """Return in words what stays and why: the first of it, and how much else."""
    more = f", and {len(stays) - 1} more" if len(stays) > 1 else ""
    return f"{stays[0].filename} stays ({stays[0].strerror}){more}"


def _opened(path: Path) -> Path:
    """Return a path, writable for us if it is a folder of ours; where it is not, whatever is done in it says why not."""
    if is_folder(path):
        with suppress(OSError):
            path.chmod(0o700)
    return path


def _attempt(remove: Callable[[], None], stays: list[OSError]) -> None:
    """Do it; a failure is noted, but for that of somebody else having done it."""
    try:
        remove()
    except FileNotFoundError:
        return
    except OSError as error:
        stays.append(error)


def write_durably(path: Path, content: bytes, mode: int) -> None:
    """Make this file be there with this content and mode, as `PutFile` does. Raises OSError, and then the file is as it was."""
    disk = Disk()
    put(disk, path, lambda new: write_file(disk, new, content, mode))


def write_file(disk: Disk, path: Path, content: bytes, mode: int) -> None:
    """Create a file that must not exist yet, durably but for its name. Raises OSError."""
    disk.write(path, [content], mode)
    disk.sync(path)


def put(disk: Disk, path: Path, create: Callable[[Path], None]) -> None:
    """Let `create` make something beside the path, durably, then give it the path's name. Raises what `create` raises, and OSError."""
    sweep(disk, path)
    new = beside(path)
    try:
        create(new)
        disk.rename(new, path)
    except BaseException:
        discard(disk, new)
        raise
    disk.sync(path.parent)


def beside(path: Path) -> Path:
    """Return a new hidden name in the same folder, which no tool reads by its ending; it tells whose it is."""
    return path.with_name(f".{path.name}.manor-{os.getpid()}-{next(_count)}")


def is_rest(name: str) -> bool:
    """Tell whether a name is one that `beside` gave: of what is not finished yet, or is to be gone."""
    return name.startswith(".") and TEMPORARY.search(name) is not None


def sweep(disk: Disk, path: Path) -> None:
    """Take away what a controller that was killed in the middle of an act left beside this path. What can't be removed is told, and hinders nothing."""
    prefix = f".{path.name}.manor-"
    with suppress(FileNotFoundError):
        for left in path.parent.iterdir():
            match = TEMPORARY.search(left.name) if left.name.startswith(prefix) else None
            if match and not Path("/proc", match["pid"]).exists():
                try:
                    discard(disk, left)
                except OSError as error:
                    log.warning("%s: was left by an act that was killed, and can't be removed: %s", left, error)


def discard(disk: Disk, path: Path) -> None:
    """Take away what an act made for itself, if it is there."""
    with suppress(FileNotFoundError):
        if is_folder(path):
            disk.remove_tree(path)
        else:
            disk.unlink(path)


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder itself, and not a link to one."""
    return path.is_dir() and not path.is_symlink()
