"""Nobody is taken for the controller, and nobody is sent a signal, but the process that has this state open and serves it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from manor.execution.guard import Guard, Manage
from manor.execution.values import Command, Completed, Effect, HttpRequest
from manor.state import holder
from manor.state.holder import is_process_of, process_start
from manor.workflows import controlling
from manor.workflows.context import Context
from manor.workflows.controlling import detached, find_controller, stop_controller


class Machine:
    """Answers every request, and keeps which commands were run."""

    def __init__(self) -> None:
        self.ran: list[Command] = []

    async def request(self, _request: HttpRequest) -> Completed:
        return Completed(200)

    async def run(self, command: Command) -> Completed:
        self.ran.append(command)
        return Completed(0)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(controlling, "own_runner", lambda: machine)
    return machine


def leave_note(context: Context, pid: int, **more: int) -> None:
    (context.folder / "controller.json").write_text(json.dumps({"url": "http://127.0.0.1:7080", "port": 7080, "pid": pid, **more}))


async def test_who_answers_on_a_stale_port_is_not_the_controller(opened: Context, machine: Machine) -> None:
    leave_note(opened, os.getppid())
    assert await find_controller(opened) is None
    assert not await stop_controller(opened)
    assert machine.ran == []


async def test_a_verb_that_got_the_pid_is_not_the_controller(opened: Context, machine: Machine) -> None:
    leave_note(opened, os.getpid())
    assert await find_controller(opened) is None


async def test_a_process_that_began_later_is_not_the_controller(opened: Context, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controlling, "is_process_of", lambda *_: True)
    leave_note(opened, os.getpid(), started=1)
    assert await find_controller(opened) is None
    leave_note(opened, os.getpid(), started=process_start(os.getpid()) or 0)
    assert await find_controller(opened) is not None


async def test_no_signal_reaches_a_process_that_got_the_pid_meanwhile(opened: Context, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controlling, "is_process_of", lambda *_: True)
    leave_note(opened, os.getpid())
    found = await find_controller(opened)
    assert found is not None
    await controlling.send("-TERM", replace(found, started=found.started - 1))
    assert machine.ran == []
    await controlling.send("-TERM", found)
    assert [command.argv for command in machine.ran] == [("kill", "-TERM", str(os.getpid()))]
    assert all(command.touch.effect is Effect.RUNTIME for command in machine.ran)


def test_who_has_a_file_open_is_read_from_the_kernel(opened: Context, tmp_path: Path) -> None:
    word = Path("/proc/self/cmdline").read_bytes().split(b"\0")[0].decode()
    assert is_process_of(os.getpid(), opened.store.folder.lock, word)
    assert not is_process_of(os.getpid(), opened.store.folder.lock, "no such word")
    assert not is_process_of(os.getpid(), tmp_path / "other", word)
    assert not is_process_of(2**22 + 1, opened.store.folder.lock, word)
    assert not holder.leads_to(tmp_path / "closed", opened.store.folder.lock)


def test_starting_it_is_an_act(opened: Context) -> None:
    command = detached(opened, "one").command
    with pytest.raises(Exception, match="manage: observe"):
        Guard("controller", Manage.OBSERVE).check(command)
