"""A health check tells a program that does not listen yet from one that answers badly."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from manor.errors import Unreachable
from manor.execution.base import Runner
from manor.execution.values import Completed, Connect, HttpRequest
from manor.rollout.checking import Checking
from manor.rollout.fleet import Checked
from manor.rollout.release import Where
from tests.reconcile.toys import wiring_of


@dataclass
class Answering:
    """A host whose web tier answers this, and whose program listens or not."""

    code: int
    listens: bool
    asked: list[int] = field(default_factory=list)

    async def request(self, _request: HttpRequest) -> Completed:
        return Completed(self.code)

    async def connect(self, connect: Connect) -> Completed:
        self.asked.append(connect.port)
        if not self.listens:
            raise Unreachable("connection refused")
        return Completed(0)


async def checked(folder: Path, host: Answering) -> Checked:
    """Check the first slot of a service on this host."""
    wiring = wiring_of(folder)
    view = wiring.service("echo")
    return await Checking(wiring.environment.services["echo"], view, view.servers[0], cast(Where, None), cast(Runner, host)).check()


@pytest.mark.parametrize(
    ("code", "listens", "told"),
    [
        (200, True, ""),
        (500, False, "answers 500, not 200"),
        (502, True, "answers 502, not 200"),
        (502, False, "not listening yet on port"),
        (503, False, "not listening yet on port"),
        (504, False, "not listening yet on port"),
    ],
)
async def test_who_does_not_answer_is_told(tmp_path: Path, code: int, listens: bool, told: str) -> None:
    host = Answering(code, listens)
    found = await checked(tmp_path, host)
    assert found.passed is (not told)
    assert told in found.detail
    assert bool(host.asked) is (code in (502, 503, 504)), "only then the port is asked"
