"""A store, and a repository that is a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from manor.state.store import Store
from tests.pipeline.bench import Bench


@pytest.fixture
def state_folder(tmp_path: Path, begin_state: Callable[[Path], Path]) -> Path:
    return begin_state(tmp_path / "state")


@pytest.fixture
def bench(tmp_path: Path, state_folder: Path) -> Iterator[Bench]:
    with Store.open(state_folder) as store:
        yield Bench(store, tmp_path / "repository")
