"""From every older schema to the present one, with a copy of the old kept."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from manor.errors import Busy, ManorError
from manor.state import audit, migrate, runs, tables
from manor.state.connecting import connect
from manor.state.folder import StateFolder
from manor.state.lock import alone, share
from manor.state.store import Store

MIGRATIONS = Path(migrate.__file__).parent / "migrations"


def old_state(path: Path, revision: str) -> StateFolder:
    """Return a folder as an older Manor left it, with a line in its audit."""
    folder = StateFolder(path)
    folder.create()
    migrate.upgrade(folder.database, revision)
    with closing(sqlite3.connect(folder.database)) as connection, connection:
        connection.execute("INSERT INTO audit (at, actor, verb, object) VALUES (1.0, 'ann', 'ship', 'prod/shop')")
    return folder


def test_the_head_of_the_scripts_is_the_schema() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [tables.SCHEMA]


def shape_of(connection: sa.Connection) -> dict[str, list[tuple[object, ...]]]:
    """Return what SQLite says of columns, keys, defaults and indexes, by table."""
    listed = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('alembic_version', 'sqlite_sequence')")
    shape: dict[str, list[tuple[object, ...]]] = {}
    for name in sorted(str(row[0]) for row in listed):
        indexes = sorted(str(row[1]) for row in connection.exec_driver_sql(f"PRAGMA index_list({name})"))
        columns = [tuple(row) for row in connection.exec_driver_sql(f"PRAGMA table_info({name})")]
        shape[name] = [*columns, *((index, *map(tuple, connection.exec_driver_sql(f"PRAGMA index_info({index})"))) for index in indexes)]
    return shape


def test_migrations_lead_to_the_tables(tmp_path: Path) -> None:
    migrated, declared = connect(old_state(tmp_path, tables.SCHEMA).database), connect(tmp_path / "declared.db")
    with migrated.begin() as one, declared.begin() as other:
        tables.metadata.create_all(other)
        assert compare_metadata(MigrationContext.configure(one), tables.metadata) == []
        assert shape_of(one) == shape_of(other)
    migrated.dispose()
    declared.dispose()


def test_an_older_schema_is_migrated_and_its_copy_kept(tmp_path: Path) -> None:
    folder = old_state(tmp_path, "0001")
    with Store.open(tmp_path) as store:
        assert [line.actor for line in store.read_now(audit.lines)] == ["ann"]
        assert store.write_now(runs.record_tip, "shop", "refs/heads/main", "c1", "ann", at=1.0)
    copy = tmp_path / f"state.db.before-{tables.SCHEMA}-from-0001"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert (migrate.revision_of(copy), migrate.revision_of(folder.database)) == ("0001", tables.SCHEMA)
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT actor FROM audit").fetchall() == [("ann",)]


def test_a_migration_that_fails_leaves_the_old_database_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = old_state(tmp_path, "0001")
    with closing(sqlite3.connect(folder.database)) as connection, connection:
        connection.execute("CREATE VIEW tokens AS SELECT 1")  # in the way of the last table of 0002
    with pytest.raises(sa.exc.OperationalError):
        Store.open(tmp_path)
    assert migrate.revision_of(folder.database) == "0001"
    with closing(sqlite3.connect(folder.database)) as connection:
        assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchone() is None


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    folder = old_state(tmp_path, tables.SCHEMA)
    with closing(sqlite3.connect(folder.database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ManorError, match="schema 9999 is newer than this Manor's"):
        Store.open(tmp_path)


def test_nobody_migrates_what_another_program_has_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = old_state(tmp_path, "0001")
    monkeypatch.setattr(migrate, "WAIT_SECONDS", 0.0)
    with share(folder.lock), pytest.raises(Busy, match="is open in another process"):
        Store.open(tmp_path)
    assert migrate.revision_of(folder.database) == "0001"


def test_nobody_opens_what_is_being_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = old_state(tmp_path, tables.SCHEMA)
    monkeypatch.setattr("manor.state.lock.WAIT_SECONDS", 0.0)
    with alone(folder.lock), pytest.raises(Busy, match="is being migrated or restored"):
        Store.open(tmp_path)
