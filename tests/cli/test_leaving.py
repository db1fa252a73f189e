"""Ctrl-C twice: what is left is said, and then nothing keeps the process."""

from __future__ import annotations

from typing import cast

import pytest

from manor.cli.terminal.running import leave_telling
from manor.workflows import leaving
from manor.workflows.context import Context


@pytest.mark.parametrize("is_known", [True, False])
def test_what_is_left_is_told_on_standard_error(is_known: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def look(_context: Context) -> tuple[str, ...]:
        if not is_known:
            raise OSError("the disk is gone")
        return ("left at once: ship prod/shop (op-1) is half done", "nobody goes on with it")

    left: list[str] = []
    monkeypatch.setattr(leaving, "left_behind", look)
    leave_telling(cast(Context, None), lambda: left.append("left"))
    told = capsys.readouterr().err
    assert left == ["left"]
    assert ("nobody goes on with it" in told) is is_known
    assert ("(the disk is gone): `manor status` shows it" in told) is not is_known
