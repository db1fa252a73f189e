"""A toy host on an empty store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.reconcile.toys import Toy, wiring_of
from tests.rollout.model import ModelClock, World
from tests.rollout.running import InlineStore


@pytest.fixture
def toy(tmp_path: Path, begin_state: Callable[[Path], Path]) -> Iterator[Toy]:
    with InlineStore.open(begin_state(tmp_path / "state"), ModelClock(World(1, 1, {}))) as store:
        yield Toy(wiring_of(tmp_path), store)
