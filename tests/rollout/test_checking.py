"""One health check of a slot, as the service declares it: what it does on the slot's own host, and what its answers mean."""

from __future__ import annotations

from dataclasses import replace

import pytest

from manor.errors import Unreachable
from manor.estate.layout import HostLayout
from manor.estate.model import Health, Service
from manor.execution.guard import Guard
from manor.execution.recording import RecordingRunner
from manor.execution.values import Command, Completed, Connect, HostPath, Touch
from manor.rollout.checking import Checking
from manor.rollout.fleet import Checked
from manor.rollout.release import Where, render_env
from tests.integrations.proxies import nodes

LAYOUT = HostLayout(HostPath("/srv/web-1"), HostPath("/srv/web-1/s"))
COMMAND = Health(command="python3 check.py --at {address}:{port} 'two words'", timeout=4.0)
ENV = {"PATH": "/usr/bin:/bin", "MANOR_SLOT": "b"}
PASSED = Checked(passed=True, detail="")


def checking(health: Health) -> tuple[Checking, RecordingRunner]:
    """Return a check of slot b on web-1, and the runner of that host."""
    runner = RecordingRunner("prod/web-1", Guard("prod/web-1"), files={LAYOUT.slot_env("shop", "b"): render_env(ENV)})
    declared = Service.model_validate({"run": {"command": "shop {address} {port}", "port": 8100}, "health": health})
    view = nodes.service(health=health)
    server = next(one for one in view.servers if one.name == "web-1-b")
    return Checking(declared, view, server, Where("prod", "web-1", server.address, "b", LAYOUT), runner), runner


async def test_a_command_runs_in_the_slot_with_its_environment_and_must_end_with_0() -> None:
    check, runner = checking(COMMAND)
    assert await check.check() == PASSED
    words = ("python3", "check.py", "--at", "127.202.0.11:8101", "two words")
    assert runner.acts == [Command(words, Touch(subject="service/shop"), ENV, LAYOUT.slot("shop", "b"), timeout_seconds=4.0)]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Completed(3, err=b"no database\n"), ("prod/web-1: `python3 check.py ", "ended with code 3", "no database")),
        (Completed(-11), ("prod/web-1: ", "ended with signal SIGSEGV")),
        (Unreachable("prod/web-1: it was not done after 4 s"), ("it was not done after 4 s",)),
    ],
    ids=["code", "signal", "unreachable"],
)
async def test_a_command_that_fails_says_why(answer: Completed | Unreachable, told: tuple[str, ...]) -> None:
    check, runner = checking(COMMAND)
    runner.reply("check.py", answer)
    seen = await check.check()
    assert not seen.passed
    for words in told:
        assert words in seen.detail


async def test_a_slot_without_an_environment_is_checked_all_the_same() -> None:
    check, _ = checking(COMMAND)
    bare = RecordingRunner("prod/web-1", Guard("prod/web-1"))
    assert await replace(check, runner=bare).check() == PASSED
    assert [act.env for act in bare.acts if isinstance(act, Command)] == [{}]


async def test_a_port_is_connected_to_where_the_program_listens() -> None:
    check, runner = checking(Health(tcp=True, timeout=1.5))
    assert await check.check() == PASSED
    assert runner.acts == [Connect("127.202.0.11", 8101, timeout_seconds=1.5)]
    runner.reply("8101", Unreachable("127.202.0.11:8101: Connection refused"))
    assert await check.check() == Checked(passed=False, detail="127.202.0.11:8101: Connection refused")


async def test_a_path_must_answer_the_declared_status() -> None:
    check, runner = checking(Health(http="/healthz", status=204))
    assert await check.check() == Checked(passed=False, detail="/healthz answers 200, not 204")
    runner.reply("/healthz", Completed(204))
    assert await check.check() == PASSED
