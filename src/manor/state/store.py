"""The one store: SQLite behind one writer and one reader thread (docs/state.md).

Invariant: every write is one `BEGIN IMMEDIATE` transaction that is on the disk (WAL, `synchronous=FULL`) when `write` returns.
Source: https://www.sqlite.org/wal.html
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Concatenate, ParamSpec, Self, TypeAlias, TypeVar

import sqlalchemy as sa

from manor.errors import Busy, ManorError
from manor.state import migrate, tables
from manor.state.clock import Clock, SystemClock
from manor.state.connecting import BUSY_SECONDS, connect
from manor.state.exchange import shared
from manor.state.folder import StateFolder
from manor.state.lock import become_alone

P = ParamSpec("P")
T = TypeVar("T")

Connection: TypeAlias = sa.Connection
"""What functions handed to `write` or `read` take first."""


class Store:
    """The state of one estate. Functions of `manor.state.*` that take a connection first are handed to `write` or `read`."""

    def __init__(self, folder: StateFolder, clock: Clock, lock: IO[str]) -> None:
        """Connect to a database that is up to date, under the folder's shared lock; use `open`."""
        self.folder = folder
        self.clock = clock
        self._lock = lock
        self._engine = connect(folder.database)
        self._writes = self._engine.execution_options(immediate=True)
        self._writer = ThreadPoolExecutor(1, "state-writer")
        self._reader = ThreadPoolExecutor(1, "state-reader")

    @classmethod
    def open(cls, folder: Path, clock: Clock | None = None, *, place: StateFolder | None = None) -> Self:
        """Open the store in a folder, or at `place`: make what is missing, bring the schema up to date, keep a copy of an older one.

        A restore that was killed is finished first, and told in the log.
        Raises Busy while another process migrates, restores, or works with an older schema, ManorError if the schema is newer than this program.
        """
        place = place or StateFolder(folder)
        store = cls(place, clock or SystemClock(), up_to_date(place))
        try:
            store.write_now(remember_identity)
        except ManorError:
            store.close()
            raise
        return store

    @property
    def state_id(self) -> str:
        """Who this store is; hosts remember it and refuse another."""
        return self.read_now(read_identity)

    async def write(self, do: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `do(connection, …)` from one durable transaction; nothing of it is kept if it raises."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, partial(self.write_now, do, *args, **kwargs))

    async def read(self, do: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `do(connection, …)` from one consistent view."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, partial(self.read_now, do, *args, **kwargs))

    def write_now(self, do: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`write` for callers without an event loop."""
        with plain_errors(self.folder), self._writes.begin() as connection:
            return do(connection, *args, **kwargs)

    def read_now(self, do: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`read` for callers without an event loop."""
        with plain_errors(self.folder), self._engine.begin() as connection:
            return do(connection, *args, **kwargs)

    async def have_alone(self) -> None:
        """Keep every other process out until this one closes it. Raises Busy while one has it open."""
        await asyncio.get_running_loop().run_in_executor(None, become_alone, self._lock, self.folder.lock)

    def close(self) -> None:
        """Finish what is under way and let go of the file."""
        self._writer.shutdown()
        self._reader.shutdown()
        self._engine.dispose()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def up_to_date(place: StateFolder) -> IO[str]:
    """Make what is missing, bring the schema up to date, and return the shared lock under which it was found so."""
    while True:
        lock = shared(place)
        try:
            place.create()
            if migrate.is_up_to_date(place):
                return lock
        except BaseException:
            lock.close()
            raise
        lock.close()  # who migrates has the folder alone
        migrate.bring_up_to_date(place)


@contextmanager
def plain_errors(folder: StateFolder) -> Iterator[None]:
    """Turn what SQLite says about locks, disks and damage into our words."""
    try:
        yield
    except sa.exc.OperationalError as error:
        if "locked" in str(error.orig):
            raise Busy(f"{folder.database}: another process has been writing for over {BUSY_SECONDS:.0f} s; nothing was written") from error
        raise ManorError(f"{folder.database}: {error.orig}; nothing was written") from error
    except sa.exc.IntegrityError:
        raise
    except sa.exc.DatabaseError as error:
        raise migrate.damaged(folder.database, error.orig) from error


def remember_identity(connection: sa.Connection) -> None:
    """Give the store an identity, once."""
    if connection.execute(sa.select(tables.facts.c.value).where(tables.facts.c.name == "state_id")).first() is None:
        connection.execute(tables.facts.insert().values(name="state_id", value=uuid.uuid4().hex))


def read_identity(connection: sa.Connection) -> str:
    """Return the store's identity."""
    return str(connection.execute(sa.select(tables.facts.c.value).where(tables.facts.c.name == "state_id")).scalar_one())
