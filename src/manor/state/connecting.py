"""How a connection to the database behaves: durable commits, bounded waits, transactions that begin when we say.

Source: https://www.sqlite.org/pragma.html#pragma_synchronous and
https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#enabling-non-legacy-sqlite-transactional-modes-with-the-sqlite3-or-aiosqlite-driver
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

BUSY_SECONDS = 10.0


def connect(database: Path) -> sa.Engine:
    """Return an engine whose connections have our pragmas and our BEGIN."""
    engine = sa.create_engine(f"sqlite:///{database}")
    sa.event.listen(engine, "connect", set_pragmas)
    sa.event.listen(engine, "begin", begin)
    return engine


def set_pragmas(connection: Any, _record: object) -> None:
    """Make commits durable and waits bounded; leave transactions to us (the driver would begin them late and deferred)."""
    connection.isolation_level = None
    for pragma in (f"busy_timeout={int(BUSY_SECONDS * 1000)}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def begin(connection: sa.Connection) -> None:
    """Begin at once as writer, or as reader."""
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("immediate") else "BEGIN")
