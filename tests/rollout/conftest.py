"""One store for all model rollouts of a session, each under a name of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from manor.state.store import Store
from tests.rollout.running import InlineStore


@pytest.fixture(scope="session")
def rollouts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with InlineStore.open(tmp_path_factory.mktemp("rollouts")) as store:
        sa.event.listen(store._engine, "connect", without_fsync)
        store._engine.dispose()
        yield store


def without_fsync(connection: sqlite3.Connection, _record: object) -> None:
    """Durability is tested elsewhere; here nothing is pulled out but the executor."""
    connection.execute("PRAGMA synchronous=OFF").close()
