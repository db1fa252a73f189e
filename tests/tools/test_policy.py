"""The hook over which services may start: what it says, and that what was there before comes back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tools import policy


@pytest.fixture
def hook(tmp_path: Path) -> Path:
    return tmp_path / "policy-rc.d"


def test_nothing_there_before_nothing_there_after(hook: Path) -> None:
    with policy.only_these_start(frozenset, hook):
        assert policy.MARK in hook.read_text()
    assert list(hook.parent.iterdir()) == []


def test_a_hook_there_before_is_the_same_file_after(hook: Path) -> None:
    hook.write_text("#!/bin/sh\nexit 104\n")
    inode = hook.stat().st_ino
    with policy.only_these_start(frozenset, hook):
        assert policy.MARK in hook.read_text()
    assert (hook.stat().st_ino, hook.read_text(), len(list(hook.parent.iterdir()))) == (inode, "#!/bin/sh\nexit 104\n", 1)


def test_a_link_there_before_is_the_same_link_after(hook: Path) -> None:
    hook.symlink_to("/nowhere/at-all")
    with policy.only_these_start(frozenset, hook):
        assert not hook.is_symlink()
    assert str(hook.readlink()) == "/nowhere/at-all"


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt, SystemExit])
def test_it_comes_back_whatever_happens(hook: Path, failure: type[BaseException]) -> None:
    hook.write_text("before")
    with pytest.raises(failure), policy.only_these_start(frozenset, hook):
        raise failure
    assert hook.read_text() == "before"


@pytest.mark.parametrize("before", [None, "before"])
def test_what_a_killed_run_left_is_finished_under_its_own_rules(hook: Path, before: str | None) -> None:
    hook.write_text(policy.render_hook(hook, ["old"]))
    if before is not None:
        policy.kept_place(hook).write_text(before)
    with policy.only_these_start(lambda: frozenset({"old", "came-with-it"}), hook) as (names, is_unfinished):
        assert is_unfinished
        assert (names, policy.left_over(hook)) == (frozenset({"old"}), frozenset({"old"}))
    assert [path.read_text() for path in hook.parent.iterdir()] == ([] if before is None else [before])


def test_a_hook_of_others_is_left_alone(hook: Path) -> None:
    hook.write_text("theirs")
    policy.restore(hook)
    assert (hook.read_text(), policy.left_over(hook)) == ("theirs", None)


def ask(hook: Path, arguments: list[str], environment: dict[str, str]) -> int:
    return subprocess.run([hook, *arguments], check=False, timeout=10, env={"PATH": os.environ["PATH"], **environment}).returncode


@pytest.mark.native
@pytest.mark.parametrize(
    ("before", "arguments", "code"),
    [
        (None, ["new", "start"], 101),
        (None, ["new.service", "restart"], 101),
        (None, ["old", "restart"], 0),
        (None, ["old.service", "restart"], 0),
        (None, ["old-er", "start"], 101),
        (104, ["old", "restart"], 104),
        (104, ["new", "start"], 101),
        (104, ["--list", "new"], 104),
        (104, ["--quiet", "new", "start"], 101),
        (104, ["--quiet", "old", "start"], 104),
    ],
)
def test_what_the_hook_says(hook: Path, before: int | None, arguments: list[str], code: int) -> None:
    if before is not None:
        hook.write_text(f"#!/bin/sh\nexit {before}\n")
        hook.chmod(0o755)
    with policy.only_these_start(lambda: frozenset({"old", "other"}), hook):
        assert ask(hook, arguments, policy.OURS) == code


@pytest.mark.native
def test_installations_of_others_are_not_concerned(hook: Path) -> None:
    with policy.only_these_start(frozenset, hook):
        assert ask(hook, ["new", "start"], {}) == 0
