"""A slot's processes are found by their mark while no supervisor can be asked."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from manor.estate.layout import HostLayout
from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.execution.values import HostPath
from manor.integrations.supervisors.base import Program, living

pytestmark = pytest.mark.native


async def test_what_lives_is_found_by_its_mark_alone(tmp_path: Path) -> None:
    runner, layout = LocalRunner("prod/here", Guard("prod/here")), HostLayout(HostPath(tmp_path), HostPath(tmp_path) / "s")
    program, other = (Program(name, ("sleep",), "service/echo", HostPath("/dev/null")) for name in ("echo-a", "echo-b"))
    process = await asyncio.create_subprocess_exec("sleep", "60", env={**os.environ, "MANOR_INSTANCE": layout.instance_mark("echo-a")})
    try:
        assert (await runner.run(living(program, layout))).text.split() == [f"/proc/{process.pid}/environ"]
        assert (await runner.run(living(other, layout))).text == ""
    finally:
        process.kill()
        await process.wait()
    assert (await runner.run(living(program, layout))).text == ""
