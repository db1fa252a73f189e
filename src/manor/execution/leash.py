"""A disk on which an act that was given up begins nothing more (docs/execution.md).

Invariant: after `give_up` no target changes by a call that begins then; what the act made under a hidden name may still be made durable and taken away.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from pathlib import Path

from manor.execution.durable import TEMPORARY, Disk


class LeashedDisk(Disk):
    """Passes the calls of one act on to a disk until the act is given up; from then on each raises OSError."""

    def __init__(self, disk: Disk) -> None:
        """Act on `disk`."""
        self._disk = disk
        self._is_given_up = False

    def give_up(self) -> None:
        """Begin nothing more. May be called from another thread; the call that is under way just now goes on."""
        self._is_given_up = True

    def write(self, path: Path, chunks: Iterable[bytes], mode: int) -> None:
        """Create a file, unless given up before or meanwhile."""
        self.require(path)
        self._disk.write(path, self._held(path, chunks), mode)

    def link(self, path: Path, target: str) -> None:
        """Create a symbolic link, unless given up."""
        self.require(path)
        self._disk.link(path, target)

    def name(self, path: Path, name: Path) -> None:
        """Give a second name, unless given up."""
        self.require(name)
        self._disk.name(path, name)

    def make_folder(self, path: Path, mode: int) -> None:
        """Create a folder, unless given up."""
        self.require(path)
        self._disk.make_folder(path, mode)

    def set_mode(self, path: Path, mode: int) -> None:
        """Give a folder another mode, unless given up."""
        self.require(path)
        self._disk.set_mode(path, mode)

    def sync(self, path: Path) -> None:
        """Make what was done durable; it was done already, so this is never refused."""
        self._disk.sync(path)

    def sync_all(self, path: Path) -> None:
        """Make a whole new tree durable, unless given up."""
        self.require(path)
        self._disk.sync_all(path)

    def rename(self, source: Path, target: Path) -> None:
        """Give another name, unless given up."""
        self.require(target)
        self._disk.rename(source, target)

    def unlink(self, path: Path) -> None:
        """Take a file or link away, unless given up and it is more than a trace of ours."""
        self.require(path, is_trace=is_hidden(path))
        self._disk.unlink(path)

    def remove_tree(self, path: Path) -> None:
        """Take a folder away, unless given up and it is more than a trace of ours."""
        self.require(path, is_trace=is_hidden(path))
        self._disk.remove_tree(path)

    def require(self, path: Path, *, is_trace: bool = False) -> None:
        """Raise OSError if given up."""
        if self._is_given_up and not is_trace:
            raise OSError(errno.ECANCELED, "given up", str(path))

    def _held(self, path: Path, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.require(path)
            yield chunk


def is_hidden(path: Path) -> bool:
    """Tell whether a path is a name that an act works under."""
    return TEMPORARY.search(path.name) is not None
