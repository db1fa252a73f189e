"""A store on a copy of an empty, migrated database, in a time of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from manor.state.store import Store
from tests.operations.model import FakeClock


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    Store.open(folder).close()
    return folder / "state.db"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, empty_database: Path, clock: FakeClock) -> Iterator[Store]:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    shutil.copy(empty_database, folder / "state.db")
    with Store.open(folder, clock) as opened:
        yield opened
