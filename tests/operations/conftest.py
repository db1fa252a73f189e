"""A store on a copy of an empty, migrated database, in a time of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from manor.state.store import Store
from tests.operations.model import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, begin_state: Callable[[Path], Path], clock: FakeClock) -> Iterator[Store]:
    with Store.open(begin_state(tmp_path / "state"), clock) as opened:
        yield opened
