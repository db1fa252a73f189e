"""What setup decides: which packages are missing, which services are new, when there is nothing to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import debian, needs, setup


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
