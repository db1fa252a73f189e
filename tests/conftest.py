"""What tests of all folders share: `--update-golden`, what whole files of tests are divided by,
quiet where there is no marker, and states that are new without being migrated each time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import settings

from manor.state import migrate
from manor.state.folder import StateFolder
from tests import dividing, quiet

settings.register_profile("sample", max_examples=40, deadline=None)
settings.register_profile("thorough", max_examples=200, deadline=None)  # `make test-thorough` asks for it
settings.load_profile("sample")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--update-golden", action="store_true", help="rewrite expected files")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> dividing.Dividing | None:
    """Divide whole files in our own way."""
    return dividing.Dividing(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: dividing.rank(item.nodeid))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Refuse processes, connections and sleep to tests without a marker, from their setup on."""
    if any(item.get_closest_marker(name) for name in quiet.LOUD):
        return (yield)
    with quiet.watched():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test whose code under test swallowed the refusal."""
    result = yield
    if seen := quiet.take_seen():
        pytest.fail(f"{item.nodeid} has no marker, and tried: {'; '.join(seen)}", pytrace=False)
    return result


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Tell whether expected files are to be written anew."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database without rows; migrating takes longer than most tests."""
    folder = StateFolder(tmp_path_factory.mktemp("empty"))
    folder.create()
    migrate.bring_up_to_date(folder)
    return folder.database


@pytest.fixture
def begin_state(empty_database: Path) -> Callable[[Path], Path]:
    """Return what makes a folder the state that nobody has opened yet."""

    def begin(path: Path) -> Path:
        folder = StateFolder(path)
        folder.create()
        shutil.copy(empty_database, folder.database)
        return path

    return begin
