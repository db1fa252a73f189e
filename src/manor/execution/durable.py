"""The few system calls that make a change on disk durable, behind a seam that a test replaces by a recorder.

Invariant: a name that others look up is only ever given to what was written and synced before: write, fsync, rename, fsync of the folder
(docs/execution.md; the order is proved by replaying every prefix of the recorded calls).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path


class Disk:
    """The system calls themselves; each one raises OSError. Nothing else in `execution` changes a file."""

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

    def rename(self, source: Path, target: Path) -> None:
        """Give a file, link or folder another name, replacing a file or link of that name."""
        source.rename(target)

    def unlink(self, path: Path) -> None:
        """Take away a file or link."""
        path.unlink()

    def remove_tree(self, path: Path) -> None:
        """Take away a folder with all under it; links in it are not followed."""
        shutil.rmtree(path)
