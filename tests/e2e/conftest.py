"""Everything here sends real traffic through real tiers on this machine's loopback addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.estates import WHEELS, ForkedEstate, LiveEstate, build_echo

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder that has no marker of its own."""
    for item in items:
        if HERE in Path(item.path).parents and not item.get_closest_marker("crash"):
            item.add_marker("e2e")


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The echo service as an artifact folder."""
    assert WHEELS.is_dir(), "run `make setup`: it fetches the wheels"
    return build_echo(tmp_path_factory.mktemp("echo") / "artifact")


@pytest.fixture(scope="module")
def make_estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], LiveEstate]]:
    """Make estates that are taken down at the module's end."""
    made: list[LiveEstate] = []

    def make(text: str) -> LiveEstate:
        estate = ForkedEstate(tmp_path_factory.mktemp("estate"), text)
        made.append(estate)
        return estate

    yield make
    for estate in made:
        estate.down()
