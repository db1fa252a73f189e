"""What `make check` runs, side by side, is shown in order, and its end is that of all."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools import check

SAYS = "import sys, time; time.sleep(float(sys.argv[1])); print(sys.argv[2], flush=True); sys.exit(int(sys.argv[3]))"


def says(word: str, after: float = 0.0, code: int = 0) -> list[str]:
    return [sys.executable, "-c", SAYS, str(after), word, str(code)]


def test_each_kind_is_checked() -> None:
    programs = [Path(command[0]).name for command in check.checks(["src", "tests"])]
    assert programs == ["ruff", "ruff", "mypy", "lint-imports", "python"]
    assert check.checks(["src"])[-1][1:] == ["-m", "tools.run_tests", "default", "240"]


@pytest.mark.parametrize("failing", range(5))
def test_any_that_fails_fails_all(failing: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(check, "run", lambda commands: [commands[failing]])
    assert check.main("src") == 1
    assert capsys.readouterr().err.startswith(f"check: failed: {check.checks(['src'])[failing][0]}")


def test_none_that_fails_is_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "run", lambda _commands: [])
    assert check.main("src") == 0


@pytest.mark.native
def test_what_is_done_later_but_stands_first_is_shown_first(capfd: pytest.CaptureFixture[str]) -> None:
    commands = [says("first", after=0.5), says("second", code=3), says("third")]
    assert check.run(commands) == [commands[1]]
    assert [line for line in capfd.readouterr().out.splitlines() if "import" not in line] == ["first", "second", "third"]


@pytest.mark.native
def test_one_that_does_not_end_is_ended_and_has_failed(capfd: pytest.CaptureFixture[str]) -> None:
    commands = [says("never", after=60), says("second")]
    assert check.run(commands, 0.5) == [commands[0]]
    told = capfd.readouterr()
    assert "check: not done in time" in told.err
    assert "second" in told.out
