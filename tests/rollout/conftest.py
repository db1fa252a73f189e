"""A store of its own for each model rollout, on a copy of an empty database."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.rollout.running import InlineStore


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    InlineStore.open(folder).close()
    return folder / "state.db"


@pytest.fixture
def rollouts(tmp_path: Path, empty: Path) -> Iterator[InlineStore]:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    shutil.copy(empty, folder / "state.db")
    with InlineStore.open(folder) as store:
        sa.event.listen(store._engine, "connect", without_fsync)
        store._engine.dispose()
        yield store


def without_fsync(connection: sqlite3.Connection, _record: object) -> None:
    """Durability is tested elsewhere; here nothing is pulled out but the executor."""
    connection.execute("PRAGMA synchronous=OFF").close()
