"""Puts a restored state in the place of the one that is there, so that a kill at any moment loses nothing (docs/state.md).

Invariant: nothing is moved before the exchange is durably written down; from then on it is only ever finished, by whoever opens the folder next.
Invariant: while `restoring/` holds a part, what lies in that part's place is the old one; so each kill shows what is left to do.
Invariant: nobody reads a folder in which an exchange is open: it takes the folder's lock alone, and who shares the lock looks for one first.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from manor.errors import ApplyFailed, Busy
from manor.execution.durable import Disk, put, write_file
from manor.state import lock
from manor.state.folder import KEPT_IN_BACKUPS, StateFolder

log = logging.getLogger(__name__)
SETTLING_SECONDS = 60.0
"""So long a restore that somebody else finishes or undoes is waited for."""
COMPANIONS = ("state.db-wal", "state.db-shm")
"""What SQLite keeps beside its database, and reads together with it."""


@dataclass(frozen=True)
class Exchange:
    """A change of places that was decided and is not finished."""

    aside: str
    """The folder, within the state folder, for what is there."""
    backup: str
    """The sha256 of the manifest of the backup that was restored."""


def is_unsettled(folder: StateFolder) -> bool:
    """Tell whether a restore was killed here, before or after it was decided."""
    return folder.exchange.exists() or folder.restoring.exists()


def shared(folder: StateFolder) -> IO[str]:
    """Return the folder's lock, shared, after what a killed restore left was brought to its end, here or by whoever came first. Raises Busy, ApplyFailed."""
    folder.create_top()
    limit = time.monotonic() + SETTLING_SECONDS
    while True:
        held = lock.share(folder.lock, SETTLING_SECONDS if is_unsettled(folder) else None)
        if not is_unsettled(folder):
            return held
        held.close()
        try:
            with lock.alone(folder.lock):
                settle(folder)
        except Busy:  # somebody else finishes it, or has and goes on: then the folder is never free again, and is not needed to be
            if time.monotonic() >= limit:
                raise
            time.sleep(lock.POLL_SECONDS)


def change_places(disk: Disk, folder: StateFolder, backup: str) -> None:
    """Put `restoring/` in the place of what is there. Needs the folder alone. Raises ApplyFailed."""
    try:
        begin(disk, folder, backup)
    except OSError as error:
        if not folder.exchange.exists():
            raise give_up(disk, folder, error) from error
        raise standing_still(folder, error) from error
    with plain_errors(folder):
        finish(disk, folder)


def give_up(disk: Disk, folder: StateFolder, error: OSError) -> ApplyFailed:
    """Remove what was unpacked, as the next one to come would; return what to tell a person whose restore could not be begun."""
    told = f"{error.filename or folder.path}: {error.strerror}; the restore was given up, nothing was changed"
    try:
        disk.remove_tree(folder.restoring)
    except OSError as left:
        told += f"; what it had unpacked is removed by whoever opens the state next ({left.filename or folder.restoring}: {left.strerror})"
    return ApplyFailed(told)


def settle(folder: StateFolder) -> Exchange | None:
    """Finish what a killed restore had decided, else undo it; say so, and return what was finished. Needs the folder alone. Raises ApplyFailed."""
    if not is_unsettled(folder):
        return None
    with plain_errors(folder):
        done = finish(Disk(), folder)
    if done is None:
        log.warning("%s: a restore was killed before it changed anything; what it had unpacked is removed", folder.path)
    else:
        log.warning("%s: a restore that was killed is now finished; what was there before it is in %s", folder.path, folder.path / done.aside)
    return done


def begin(disk: Disk, folder: StateFolder, backup: str) -> None:
    """Decide the exchange. Raises OSError."""
    aside = next(name for n in range(1, 10_000) if not (folder.path / (name := f"before-restore-{n}")).exists())
    content = json.dumps(asdict(Exchange(aside, backup))).encode()
    disk.sync_all(folder.restoring)
    put(disk, folder.exchange, lambda new: write_file(disk, new, content, 0o600))


def finish(disk: Disk, folder: StateFolder) -> Exchange | None:
    """Carry out what is left of an exchange, or of one that was never decided; may be killed anywhere and called again. Raises OSError."""
    found = read(folder)
    if found is not None:
        move_all(disk, folder, folder.path / found.aside)
    if folder.restoring.exists():
        disk.remove_tree(folder.restoring)
    if found is not None:
        disk.unlink(folder.exchange)
        disk.sync(folder.path)
    return found


@contextmanager
def plain_errors(folder: StateFolder) -> Iterator[None]:
    """Turn what the system says in the middle of an exchange into our words."""
    try:
        yield
    except OSError as error:
        raise standing_still(folder, error) from error


def standing_still(folder: StateFolder, error: OSError) -> ApplyFailed:
    """Return what to tell a person whose restore was decided and could not be finished."""
    return ApplyFailed(
        f"{error.filename or folder.path}: {error.strerror}; the restore stands still; nothing is lost, and whoever opens the state next goes on with it"
    )


def read(folder: StateFolder) -> Exchange | None:
    """Return the exchange that was decided and is not finished."""
    return Exchange(**json.loads(folder.exchange.read_bytes())) if folder.exchange.exists() else None


def move_all(disk: Disk, folder: StateFolder, aside: Path) -> None:
    """Move every part that is still to be moved, the database last, and make that durable."""
    if not aside.exists():
        disk.make_folder(aside, 0o700)
    for name in (*KEPT_IN_BACKUPS, folder.database.name):
        if os.path.lexists(folder.restoring / name):
            move(disk, folder, aside, name)
    for path in (aside, folder.path, folder.restoring):
        if path.exists():
            disk.sync(path)


def move(disk: Disk, folder: StateFolder, aside: Path, name: str) -> None:
    """Move what is in a part's place aside, and the restored part there."""
    for old in (*(COMPANIONS if name == folder.database.name else ()), name):
        if os.path.lexists(folder.path / old):
            disk.rename(folder.path / old, free_name(aside / old))
    disk.rename(folder.restoring / name, folder.path / name)


def free_name(path: Path) -> Path:
    """Return a name that nothing has; another than the wanted one only if somebody made such a part in the middle of an exchange."""
    return next(free for free in numbered(path) if not os.path.lexists(free))


def numbered(path: Path) -> Iterator[Path]:
    """Yield a path, and then others beside it."""
    yield path
    for n in range(1, 10_000):
        yield path.with_name(f"{path.name}.{n}")


def whereabouts(folder: StateFolder, part: Path) -> Path:
    """Return where a part lies that is to be read as if an open exchange were finished; needs the lock shared."""
    restored = folder.restoring / part.name
    return restored if folder.exchange.exists() and os.path.lexists(restored) else part
