"""The state folder: where the store and what it speaks of lie (docs/state.md).

Invariant: folders are 0700 and the database 0600; nobody else on the machine reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from manor.errors import ApplyFailed

KEPT_IN_BACKUPS = ("artifacts", "repositories", "ca", "estates", "probes", "runs")
PARTS = (*KEPT_IN_BACKUPS, "hosts")
ASIDE = ".removed"
"""What in a part is about to be removed; nobody looks there."""


@dataclass(frozen=True)
class StateFolder:
    """The paths below one state folder."""

    path: Path

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / "state.db"

    @property
    def artifacts(self) -> Path:
        """What was built or handed in, by digest."""
        return self.path / "artifacts"

    @property
    def repositories(self) -> Path:
        """The hosted git repositories."""
        return self.path / "repositories"

    @property
    def ca(self) -> Path:
        """The local certificate authority."""
        return self.path / "ca"

    @property
    def hosts(self) -> Path:
        """The local hosts, `<environment>/<host>`; not part of a backup."""
        return self.path / "hosts"

    @property
    def runs(self) -> Path:
        """Work folders and logs of pipeline runs."""
        return self.path / "runs"

    @property
    def probes(self) -> Path:
        """What the probes of rollouts saw, by operation."""
        return self.path / "probes"

    @property
    def lock(self) -> Path:
        """Locked by who has the state open, migrates or restores it."""
        return self.path / "state.lock"

    @property
    def restoring(self) -> Path:
        """What a restore has unpacked and not yet put in its place."""
        return self.path / "restoring"

    @property
    def exchange(self) -> Path:
        """Says that `restoring` is to take the place of what is there; gone when it has."""
        return self.path / "exchange.json"

    def create_top(self) -> None:
        """Make the folder itself, where the lock lies. Raises ApplyFailed where that can't be."""
        with plain_errors(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def create(self) -> None:
        """Make what is missing. Raises ApplyFailed where that can't be."""
        self.create_top()
        with plain_errors(self.path):
            for part in PARTS:
                (self.path / part).mkdir(mode=0o700, exist_ok=True)
            if not self.database.exists():
                self.database.touch(mode=0o600)


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Turn what the system says of a folder that can't be made into our words."""
    try:
        yield
    except OSError as error:
        raise ApplyFailed(f"{error.filename or path}: {error.strerror}; the state folder can't be made there, name another with MANOR_STATE") from error
