"""The recording runner keeps the contract, answers as scripted, and dry-runs over another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from manor.errors import CommandFailed, Unreachable
from manor.execution.bounded import Begin
from manor.execution.guard import Guard
from manor.execution.memory import Link
from manor.execution.recording import RecordingRunner, Reply
from manor.execution.values import Command, Completed, Detached, Effect, FileAct, HostPath, HttpRequest, PutFile, Remove, SocketCommand, Touch
from tests.execution.contract import CommandContract, RunnerContract, Stage, guard_for

ROOT, FOREIGN = HostPath("/srv/manor"), HostPath("/opt/foreign")


@pytest.fixture
def stage() -> Stage:
    replies = [
        Reply("printf", Completed(0, b"a b")),
        Reply("exit 3", Completed(3, err=b"no: pass-1 pass-2\n")),
        Reply("exit 4", Completed(4)),
        Reply("exit 7", Completed(7, b"hello\n")),
    ]
    return Stage(RecordingRunner("prod/web-1", guard_for(ROOT, FOREIGN), replies=replies), ROOT, FOREIGN)


class TestContract(RunnerContract, CommandContract):
    async def lay_link(self, stage: Stage, name: str) -> None:
        assert isinstance(stage.runner, RecordingRunner)
        stage.runner.files.entries[stage.root / name] = Link(stage.foreign)

    def hang(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        answered = asyncio.Event()

        async def nothing(*_: object) -> None:
            await answered.wait()

        async def begun(acts: Sequence[FileAct], begin: Begin) -> None:
            begin(acts[0])
            await answered.wait()

        async def started(_step: Detached, begin: Callable[[], None]) -> None:
            begin()
            await answered.wait()

        for name in ("_read", "_digest", "_listings", "_attach", "_log", "_cancel"):
            monkeypatch.setattr(stage.runner, name, nothing)
        monkeypatch.setattr(stage.runner, "_change", begun)
        monkeypatch.setattr(stage.runner, "_start", started)
        return answered.set


def bare() -> RecordingRunner:
    return RecordingRunner("dev/all-1", Guard("dev/all-1"))


async def test_acts_are_noted_in_order() -> None:
    runner = bare()
    await runner.run(Command(("nginx", "-t")))
    await runner.talk(SocketCommand(HostPath("/run/h.sock"), "show stat"))
    await runner.request(HttpRequest("GET", "http://127.0.0.1/"))
    await runner.change([PutFile(HostPath("/a"), b"x")])
    assert runner.shown == ("nginx -t", "show stat > /run/h.sock", "GET http://127.0.0.1/", "PutFile /a")


async def test_the_newest_matching_reply_answers_as_often_as_it_may() -> None:
    runner = bare()
    runner.reply("nginx", Completed(0, b"always"))
    runner.reply("nginx", Unreachable("gone"), times=1)
    with pytest.raises(Unreachable, match="gone"):
        await runner.run(Command(("nginx", "-t")))
    assert (await runner.run(Command(("nginx", "-t")))).out == b"always"


async def test_a_status_that_is_not_ok_raises_as_a_real_one_does() -> None:
    runner = bare()
    runner.reply("GET", Completed(503, b"no server\n"))
    with pytest.raises(CommandFailed, match=r"dev/all-1: `GET http://x/` answered 503\n    no server"):
        await runner.request(HttpRequest("GET", "http://x/", ok_codes=frozenset({200})))


async def test_a_dry_run_reads_what_is_there_and_notes_what_would_change() -> None:
    below = RecordingRunner("dev/all-1", Guard("dev/all-1"), files={HostPath("/a"): b"old", HostPath("/b/c"): b"kept"})
    below.reply("nginx -v", Completed(0, b"1.22"))
    dry = RecordingRunner("dev/all-1", Guard("dev/all-1"), over=below)
    await dry.change([PutFile(HostPath("/a"), b"new"), Remove(HostPath("/b"))])
    assert (await dry.run(Command(("nginx", "-v")))).out == b"1.22"
    await dry.run(Command(("nginx", "-s", "reload"), touch=Touch(effect=Effect.RUNTIME)))
    assert await dry.read([HostPath("/a"), HostPath("/b/c")]) == {HostPath("/a"): b"new"}
    assert below.shown == ("nginx -v",)
    assert await below.read([HostPath("/a")]) == {HostPath("/a"): b"old"}
