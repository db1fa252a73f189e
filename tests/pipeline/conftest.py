"""A store, and a repository that is a folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from manor.state.store import Store
from tests.pipeline.bench import Bench


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    Store.open(folder).close()
    return folder / "state.db"


@pytest.fixture
def state_folder(tmp_path: Path, empty_database: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    shutil.copy(empty_database, folder / "state.db")
    return folder


@pytest.fixture
def bench(tmp_path: Path, state_folder: Path) -> Iterator[Bench]:
    with Store.open(state_folder) as store:
        yield Bench(store, tmp_path / "repository")
