"""Brings the schema up to date, alone, with a copy of the older database kept.

Invariant: an older database is copied before it is touched; a newer one is refused; the fast path imports no Alembic.
Source: https://alembic.sqlalchemy.org/en/latest/cookbook.html#programmatic-api-use-connection-sharing-with-alembic
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from manor.errors import ManorError
from manor.state.connecting import connect
from manor.state.exchange import settle
from manor.state.folder import StateFolder
from manor.state.lock import WAIT_SECONDS, alone
from manor.state.tables import SCHEMA


def is_up_to_date(folder: StateFolder) -> bool:
    """Tell whether a database has the schema of this program. Raises ManorError for what is no database."""
    return revision_of(folder.database) == SCHEMA


def bring_up_to_date(folder: StateFolder) -> None:
    """Migrate to SCHEMA. Raises Busy while a program of the older schema has the state open, ManorError if it is newer than this program."""
    with alone(folder.lock, WAIT_SECONDS):
        settle(folder)
        before = revision_of(folder.database)
        if before == SCHEMA:
            return
        require_known(folder, before)
        if before:
            copy_database(folder.database, folder.database.with_name(f"state.db.before-{SCHEMA}-from-{before}"))
        upgrade(folder.database, SCHEMA)


def revision_of(database: Path) -> str:
    """Return the revision of a database, or an empty text for an empty one. Raises ManorError for what is no database."""
    try:
        with closing(sqlite3.connect(database, timeout=10)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
                return ""
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise damaged(database, error) from error
    return str(row[0]) if row else ""


def damaged(database: Path, error: object) -> ManorError:
    """Return what to say of a database that SQLite can't read."""
    return ManorError(f"{database}: {error}; it is damaged or no database: put a backup in its place with `manor state restore FILE --replace`")


def require_known(folder: StateFolder, revision: str) -> None:
    """Raise ManorError if the database was written by a newer program."""
    if revision > SCHEMA:
        raise ManorError(f"{folder.database}: schema {revision} is newer than this Manor's {SCHEMA}; upgrade Manor, or restore the copy kept beside it")


def copy_database(source: Path, copy: Path) -> None:
    """Copy a live database consistently and durably, 0600, replacing an earlier copy only when complete."""
    half = copy.with_name(f"{copy.name}.part")
    half.unlink(missing_ok=True)
    half.touch(mode=0o600)
    with closing(sqlite3.connect(source, timeout=10)) as reader, closing(sqlite3.connect(half)) as writer:
        reader.backup(writer)
    with half.open("rb") as file:
        os.fsync(file.fileno())
    half.replace(copy)


def upgrade(database: Path, revision: str) -> None:
    """Run the migrations up to a revision, all in one transaction."""
    from alembic import command
    from alembic.config import Config

    engine = connect(database)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.execution_options(immediate=True).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()
