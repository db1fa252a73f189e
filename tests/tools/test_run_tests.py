"""How tests of a marker are run: by how many, divided how, where they write, and for how long."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tests import dividing
from tests.architecture.sources import ROOT
from tools import run_tests


def test_the_default_tests_are_chosen_by_the_configuration() -> None:
    default, native = run_tests.pytest_command("default", ["-x"]), run_tests.pytest_command("native", [])
    assert default[:4] == [sys.executable, "-m", "pytest", "-q"]
    assert default[-1] == "-x"
    assert "-m" not in default[3:]
    assert native[native.index("-m", 3) + 1] == "native"


def test_thorough_is_what_is_marked_and_every_property_with_more_examples() -> None:
    command = run_tests.pytest_command("thorough", [])
    assert command[command.index("-m", 3) + 1].startswith("thorough or (hypothesis and not native")
    assert settings.get_profile(command[-3].rsplit("=", 1)[1]).max_examples >= 5 * settings.get_profile("sample").max_examples


@pytest.mark.parametrize(("marker", "dist"), [("default", "worksteal"), ("thorough", "worksteal"), ("native", "loadfile"), ("e2e", "loadfile")])
def test_tests_that_share_what_their_file_started_stay_together(marker: str, dist: str) -> None:
    command = run_tests.pytest_command(marker, [])
    assert command[command.index("--dist") + 1] == dist


def test_a_marker_without_tests_is_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(run_tests, "run_bounded", lambda command, limit: run_tests.NO_TESTS)
    assert run_tests.main("e2e", "10") == run_tests.NO_TESTS
    assert capsys.readouterr().err == "no tests are marked e2e, or they were not found\n"


@pytest.mark.native
def test_a_run_past_its_limit_is_interrupted() -> None:
    assert run_tests.run_bounded(["sleep", "30"], 0.1) == 124


@pytest.mark.parametrize(("marker", "is_in_memory"), [("default", True), ("thorough", True), ("native", False), ("e2e", False)])
def test_what_starts_nothing_writes_into_memory_and_leaves_nothing(tmp_path: Path, marker: str, is_in_memory: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_tests, "ROOM_BYTES", 0)
    with run_tests.folder_for(marker, tmp_path) as arguments:
        assert len(list(tmp_path.iterdir())) == is_in_memory
        assert arguments[:1] == (["--basetemp"] if is_in_memory else [])
    assert list(tmp_path.iterdir()) == []


def test_without_room_in_memory_it_is_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_tests, "ROOM_BYTES", 1 << 80)
    for folder in (tmp_path, tmp_path / "absent"):
        with run_tests.folder_for("default", folder) as arguments:
            assert arguments == []


def test_what_takes_longest_begins_first_and_single_tests_fill_the_gaps() -> None:
    files = ["tests/pipeline/test_kill_native.py::a", "tests/web/test_app.py::b", "tests/e2e/test_tour.py::c", "tests/e2e/test_chains.py::d"]
    assert sorted(files, key=dividing.rank) == list(reversed(files))
    assert [dividing.unit_of(nodeid) for nodeid in files[:2]] == ["tests/pipeline/test_kill_native.py::a", "tests/web/test_app.py"]


@pytest.mark.parametrize("name", [*dividing.ONE_BY_ONE, *dividing.LONGEST_FIRST])
def test_what_is_named_is_there(name: str) -> None:
    assert (ROOT / name).exists()
