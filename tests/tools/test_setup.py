"""What setup decides: which packages are missing, which services are new, when there is nothing to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools import debian, needs, run_tests, setup


def test_only_unmet_needs_are_missing() -> None:
    some = (needs.Need("here", lambda: True), needs.Need("absent", lambda: False))
    assert needs.missing(some) == ("absent",)


def test_a_program_is_looked_for_in_the_systems_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert needs.missing([needs.program("dash", "sh"), needs.program("x", "no-such-program"), needs.module("y", "json")]) == ("x",)


def test_units_and_scripts_are_found_by_kind(tmp_path: Path) -> None:
    for name in ("nginx.service", "apt.timer", "notes.txt", "README"):
        (tmp_path / name).touch()
    assert debian.units([str(tmp_path), "/nowhere"]) == {"nginx.service", "apt.timer"}
    assert debian.init_scripts(str(tmp_path)) == {"nginx.service", "apt.timer", "notes.txt", "README"}


def test_only_what_was_not_there_before_is_new() -> None:
    names = ["nginx.service", "nginx@.service", "old.service", "apt.timer", "cron"]
    assert debian.new(names, frozenset({"old", "cron"})) == ["apt.timer", "nginx.service"]


def test_what_starts_a_unit_is_found(tmp_path: Path) -> None:
    for name in ("multi-user.target.wants/nginx.service", "multi-user.target.wants/other.service", "x.service.requires/nginx.service"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to("/nowhere")
    found = debian.wanting("nginx.service", str(tmp_path))
    assert [link.parent.name for link in found] == ["multi-user.target.wants", "x.service.requires"]


def test_a_stamp_holds_for_the_same_inputs_only(tmp_path: Path) -> None:
    lock, stamp = tmp_path / "lock", tmp_path / "stamp"
    lock.write_text("a==1")
    stamp.write_text(setup.digest([lock], "3.11"))
    assert setup.is_stamped(stamp, setup.digest([lock], "3.11"))
    assert not setup.is_stamped(stamp, setup.digest([lock], "3.12"))
    lock.write_text("a==2")
    assert not setup.is_stamped(stamp, setup.digest([lock], "3.11"))
    assert not setup.is_stamped(tmp_path / "none", "")


def test_without_root_and_sudo_it_says_what_to_have_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(SystemExit, match="have an administrator run: apt x"):
        setup.as_root(["apt", "x"])
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/sudo")
    assert setup.as_root(["apt", "x"]) == ["sudo", "apt", "x"]


@pytest.mark.parametrize("lock", [setup.LOCK, setup.DEMO_LOCK])
def test_every_locked_package_has_a_version_and_hashes(lock: Path) -> None:
    lines = lock.read_text().splitlines()
    pinned = [number for number, line in enumerate(lines) if line and not line.startswith((" ", "#"))]
    assert [lines[number] for number in pinned if "==" not in lines[number] or "--hash=sha256:" not in lines[number + 1]] == []


def test_the_default_tests_are_chosen_by_the_configuration() -> None:
    default, native = run_tests.pytest_command("default", ["-x"]), run_tests.pytest_command("native", [])
    assert default[:4] == [sys.executable, "-m", "pytest", "-q"]
    assert default[-1] == "-x"
    assert "-m" not in default[3:]
    assert native[native.index("-m", 3) + 1] == "native"


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
