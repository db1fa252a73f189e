"""A copy of the store that is thrown away: whoever only wants to know what would be done writes into that.

Invariant: nothing below the state folder is made, changed or removed; what is read there is as it was when the copy was made.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from manor.state.exchange import whereabouts
from manor.state.folder import StateFolder
from manor.state.lock import share
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

    @property
    def restoring(self) -> Path:
        """Nothing is ever restored into a copy."""
        return self.scratch / "restoring"

    @property
    def exchange(self) -> Path:
        """Likewise."""
        return self.scratch / "exchange.json"

    def create_top(self) -> None:
        """Make nothing: the copy's folder is there."""

    def create(self) -> None:
        """Make the copies, once."""
        if self.database.exists():
            return
        there = StateFolder(self.path)
        with held(there):
            self._copy(there)

    def _copy(self, there: StateFolder) -> None:
        """Copy what there is, as if a restore that was killed were finished."""
        artifacts, ca, database = (whereabouts(there, part) for part in (there.artifacts, there.ca, there.database))
        self.artifacts.mkdir(mode=0o700)
        for file in artifacts.glob("*"):
            (self.artifacts / file.name).symlink_to(file)
        if ca.is_dir():
            shutil.copytree(ca, self.ca)
        if database.exists():
            copy_database(database, self.database)
        else:
            self.database.touch(mode=0o600)


def held(folder: StateFolder) -> AbstractContextManager[object]:
    """Return the folder's lock, shared; nothing where nobody has ever locked it, since none is made."""
    return share(folder.lock) if folder.lock.exists() else nullcontext()


@contextmanager
def open_copy(folder: Path) -> Iterator[Store]:
    """Open a copy of the state in a folder, whether there is one or not; it is gone after the body."""
    with TemporaryDirectory(prefix="manor-dry-run-") as scratch, Store.open(folder, place=ScratchFolder(folder, Path(scratch))) as store:
        yield store
