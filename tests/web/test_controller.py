"""A state folder has one controller."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from manor.errors import Busy
from manor.state.lock import take
from manor.web.controller import control
from manor.workflows.context import open_context

ESTATE = """\
estate: alone
services:
  shop: {run: {command: "serve {address} {port}", port: 8300}, health: {http: /}, routes: [{host: shop}]}
environments: {dev: {}}
"""


async def test_a_second_controller_is_refused_before_it_does_anything(tmp_path: Path) -> None:
    (tmp_path / "estate.yaml").write_text(ESTATE)
    with open_context(tmp_path) as context, take(context.folder / "controller.lock", fcntl.LOCK_EX, "", 0.0):
        before = sorted(path.name for path in context.folder.iterdir())
        with pytest.raises(Busy, match=r"has a controller already, which `manor down` ends"):
            await control(context, "127.0.0.1", None, lambda _: None)
        assert sorted(path.name for path in context.folder.iterdir()) == before
