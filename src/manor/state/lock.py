"""The lock on a state folder: shared by all who have it open, exclusive for who migrates or restores it.

Invariant: it is flock(2)'s, so the kernel lets go of it when its process dies; nobody has to remove anything.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from manor.errors import Busy

WAIT_SECONDS = 10.0
POLL_SECONDS = 0.05
OPEN_ELSEWHERE = "is open in another process, e.g. `manor serve`; stop that first"


def share(path: Path, wait_seconds: float | None = None) -> IO[str]:
    """Return the lock file, shared until it is closed; waits 10 s unless told otherwise. Raises Busy while another process migrates or restores."""
    return take(path, fcntl.LOCK_SH, "is being migrated or restored by another process", WAIT_SECONDS if wait_seconds is None else wait_seconds)


def become_alone(file: IO[str], path: Path) -> None:
    """Turn a shared lock into one that nobody else shares. Raises Busy, and shares it as before, while another process has the folder open."""
    limit = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            fcntl.flock(file, fcntl.LOCK_SH)  # the attempt may have let go of it: flock(2), converting a lock
            if time.monotonic() >= limit:
                raise Busy(f"{path.parent} {OPEN_ELSEWHERE}") from error
            time.sleep(POLL_SECONDS)
        else:
            return


@contextmanager
def alone(path: Path, wait_seconds: float = 0.0) -> Iterator[None]:
    """Have the folder to oneself. Raises Busy while another process has it open."""
    with take(path, fcntl.LOCK_EX, OPEN_ELSEWHERE, wait_seconds):
        yield


def take(path: Path, kind: int, why_not: str, wait_seconds: float) -> IO[str]:
    """Lock, asking again until the time is up."""
    file = path.open("a")
    limit = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= limit:
                file.close()
                raise Busy(f"{path.parent} {why_not}") from error
            time.sleep(POLL_SECONDS)
        else:
            return file
