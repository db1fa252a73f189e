"""What setup decides: which packages are missing, which services are new, when there is nothing to do."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass, field
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


class Killed(BaseException):
    """Setup was killed."""


@dataclass
class Place:
    """A checkout in which nothing is really installed, and which commands setup gave in it."""

    root: Path
    commands: list[list[str]] = field(default_factory=list)
    fatal: int = 0

    def run(self, command: tuple[str, ...], *, pass_fds: list[int], **_: object) -> None:
        """Stand in for subprocess.run: leave what the command would have left, or be killed in the middle of it."""
        assert len(pass_fds) == 1, "the lock ends with us, and what we started does not"
        words = list(command)
        self.commands.append(words)
        if "--clear" in words:
            shutil.rmtree(setup.VENV, ignore_errors=True)
            (setup.VENV / "bin").mkdir(parents=True)
        if len(self.commands) == self.fatal:
            raise Killed
        if "-d" in words:
            Path(words[words.index("-d") + 1]).mkdir(parents=True)
        if "-e" in words:
            (setup.VENV / "bin" / "manor").touch()

    def set_up(self, fatal: int = 0) -> list[str]:
        """Run setup, killed at this command (0: at none), and return what it did, a word each."""
        self.commands, self.fatal = [], fatal
        with contextlib.suppress(Killed):
            assert setup.main() == 0
        kinds = {"--clear": "venv", "-r": "packages", "-d": "wheels", "-e": "project"}
        return sorted({next((kind for word, kind in reversed(kinds.items()) if word in words), "compiled") for words in self.commands})


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(tmp_path)
    for name, path in {"ROOT": "", "VENV": ".venv", "CACHE": ".cache", "WHEELHOUSE": ".cache/wheelhouse", "LOCK": "a.lock", "DEMO_LOCK": "demo.lock"}.items():
        monkeypatch.setattr(setup, name, tmp_path / path)
    for name in ("a.lock", "demo.lock", "pyproject.toml"):
        (tmp_path / name).write_text("a==1")
    monkeypatch.setattr(setup, "install_packages", lambda: False)
    monkeypatch.setattr("subprocess.run", made.run)
    return made


ALL = ["compiled", "packages", "project", "venv", "wheels"]


def test_what_is_done_is_not_done_again(place: Place) -> None:
    assert place.set_up() == ALL
    assert len(place.commands) == 6
    assert place.set_up() == []


@pytest.mark.parametrize("fatal", [1, 2, 3, 4])
def test_killed_before_all_packages_were_there_it_is_made_anew(place: Place, fatal: int) -> None:
    place.set_up(fatal)
    assert {"packages", "project", "venv"} <= set(place.set_up())
    assert place.set_up() == []


@pytest.mark.parametrize("fatal", [5, 6])
def test_killed_after_that_it_goes_on(place: Place, fatal: int) -> None:
    place.set_up(fatal)
    assert place.set_up() == ["compiled", "project"]
    assert place.set_up() == []


def test_killed_while_it_is_made_anew_the_old_one_does_not_pass_for_it(place: Place) -> None:
    place.set_up()
    (place.root / "a.lock").write_text("a==2")
    place.set_up(1)
    (place.root / "a.lock").write_text("a==1")
    assert place.set_up() == ["compiled", "packages", "project", "venv"]


@pytest.mark.parametrize(
    ("file", "done"),
    [("a.lock", ["compiled", "packages", "project", "venv"]), ("pyproject.toml", ["compiled", "project"]), ("demo.lock", ["wheels"])],
)
def test_what_changed_is_done_again(place: Place, file: str, done: list[str]) -> None:
    place.set_up()
    (place.root / file).write_text("a==2")
    assert place.set_up() == done
    assert place.set_up() == []


@pytest.mark.parametrize("lock", [setup.LOCK, setup.DEMO_LOCK])
def test_every_locked_package_has_a_version_and_hashes(lock: Path) -> None:
    lines = lock.read_text().splitlines()
    pinned = [number for number, line in enumerate(lines) if line and not line.startswith((" ", "#"))]
    assert [lines[number] for number in pinned if "==" not in lines[number] or "--hash=sha256:" not in lines[number + 1]] == []
