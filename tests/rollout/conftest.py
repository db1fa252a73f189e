"""A store of its own for each model rollout, on a copy of an empty database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.rollout.running import InlineStore


@pytest.fixture
def rollouts(tmp_path: Path, begin_state: Callable[[Path], Path]) -> Iterator[InlineStore]:
    with InlineStore.open(begin_state(tmp_path / "state")) as store:
        sa.event.listen(store._engine, "connect", without_fsync)
        store._engine.dispose()
        yield store


def without_fsync(connection: sqlite3.Connection, _record: object) -> None:
    """Durability is tested elsewhere; here nothing is pulled out but the executor."""
    connection.execute("PRAGMA synchronous=OFF").close()
