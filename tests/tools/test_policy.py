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
    with policy.only_these_start([], hook):
        assert policy.MARK in hook.read_text()
    assert list(hook.parent.iterdir()) == []


def test_a_hook_there_before_is_the_same_file_after(hook: Path) -> None:
    hook.write_text("#!/bin/sh\nexit 104\n")
    inode = hook.stat().st_ino
    with policy.only_these_start([], hook):
        assert policy.MARK in hook.read_text()
    assert (hook.stat().st_ino, hook.read_text(), len(list(hook.parent.iterdir()))) == (inode, "#!/bin/sh\nexit 104\n", 1)


def test_a_link_there_before_is_the_same_link_after(hook: Path) -> None:
    hook.symlink_to("/nowhere/at-all")
    with policy.only_these_start([], hook):
        assert not hook.is_symlink()
    assert str(hook.readlink()) == "/nowhere/at-all"


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt, SystemExit])
def test_it_comes_back_whatever_happens(hook: Path, failure: type[BaseException]) -> None:
    hook.write_text("before")
    with pytest.raises(failure), policy.only_these_start([], hook):
        raise failure
    assert hook.read_text() == "before"


@pytest.mark.parametrize("before", [None, "before"])
def test_what_a_killed_run_left_is_put_back_by_the_next(hook: Path, before: str | None) -> None:
    hook.write_text(policy.render_hook(hook, [], os.getpid()))
    if before is not None:
        policy.kept_place(hook).write_text(before)
    policy.restore(hook)
    assert [path.read_text() for path in hook.parent.iterdir()] == ([] if before is None else [before])


def test_a_hook_of_others_is_left_alone(hook: Path) -> None:
    hook.write_text("theirs")
    policy.restore(hook)
    assert hook.read_text() == "theirs"


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
    ],
)
def test_what_the_hook_says(hook: Path, before: int | None, arguments: list[str], code: int) -> None:
    if before is not None:
        hook.write_text(f"#!/bin/sh\nexit {before}\n")
        hook.chmod(0o755)
    with policy.only_these_start(["old", "other"], hook):
        assert subprocess.run([hook, *arguments], check=False, timeout=10).returncode == code


@pytest.mark.native
def test_a_hook_whose_process_is_gone_forbids_nothing(hook: Path) -> None:
    text = policy.render_hook(hook, [], os.getpid())
    hook.write_text(text.replace(f"= {policy.start_time(os.getpid())} ]", "= 1 ]"))
    hook.chmod(0o755)
    assert subprocess.run([hook, "new", "start"], check=False, timeout=10).returncode == 0
