"""A copy of the store that is thrown away: whoever only wants to know what would be done writes into that.

Invariant: nothing below the state folder is made, changed or removed; what is read there is as it was when the copy was made.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from manor.state.folder import StateFolder
from manor.state.migrate import copy_database
from manor.state.store import Store


@dataclass(frozen=True)
class ScratchFolder(StateFolder):
    """A state folder as it stands, with another place for the parts that are written before anything is carried out."""

    scratch: Path

    @property
    def database(self) -> Path:
        """The copy of the SQLite file."""
        return self.scratch / "state.db"

    @property
    def artifacts(self) -> Path:
        """Links to what was built or handed in, and what is packed now."""
        return self.scratch / "artifacts"

    @property
    def ca(self) -> Path:
        """The copy of the local certificate authority."""
        return self.scratch / "ca"

    @property
    def lock(self) -> Path:
        """A lock that nobody else looks at."""
        return self.scratch / "state.lock"

    def create(self) -> None:
        """Make the copies."""
        there = StateFolder(self.path)
        self.artifacts.mkdir(mode=0o700)
        for file in there.artifacts.glob("*"):
            (self.artifacts / file.name).symlink_to(file)
        if there.ca.is_dir():
            shutil.copytree(there.ca, self.ca)
        if there.database.exists():
            copy_database(there.database, self.database)
        else:
            self.database.touch(mode=0o600)


@contextmanager
def open_copy(folder: Path) -> Iterator[Store]:
    """Open a copy of the state in a folder, whether there is one or not; it is gone after the body."""
    with TemporaryDirectory(prefix="manor-dry-run-") as scratch, Store.open(folder, place=ScratchFolder(folder, Path(scratch))) as store:
        yield store
