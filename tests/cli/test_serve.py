"""What `manor serve` prints, for people and as JSON, with a controller that only speaks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest

from manor.cli.terminal import outlet
from manor.cli.terminal.outlet import Outlet
from manor.errors import Busy
from manor.execution.values import Secret
from manor.operations.events import Event, Listener, What
from manor.workflows.context import Context
from manor.workflows.serving import Serving
from tests.cli.conftest import Shell

EVENT = Event(What.DONE, 1.0, "op-1", "shop a", seq=3, host="prod/web-1", kind="admit", seconds=0.5)
LIMIT_SECONDS = 10.0


def speaking(token: Secret | None, error: Exception | None = None) -> Callable[..., object]:
    """Return a controller that says where it listens, tells one event, and ends."""

    async def control(_context: Context, _address: str, _port: int | None, say: Callable[[Serving], None], listener: Listener) -> None:
        say(Serving("acme-health", "http://127.0.0.1:7080", token))
        listener(EVENT)
        if error:
            raise error

    return control


def test_a_program_gets_objects(estate: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manor.web.controller.control", speaking(Secret("manor_x")))
    assert estate.objects("serve") == [
        {"event": "serving", "estate": "acme-health", "url": "http://127.0.0.1:7080", "first_admin_token": "manor_x"},
        {"event": "done", "at": 1.0, "operation": "op-1", "text": "shop a", "seq": 3, "host": "prod/web-1", "kind": "admit", "seconds": 0.5},
        {"event": "result", "estate": "acme-health", "url": "http://127.0.0.1:7080"},
    ]


def test_a_person_gets_lines(estate: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manor.web.controller.control", speaking(Secret("manor_x")))
    assert estate.run("serve").stdout == "first admin token, shown this once: manor_x\nserving acme-health on http://127.0.0.1:7080\n"
    monkeypatch.setattr("manor.web.controller.control", speaking(None))
    assert estate.run("serve").stdout == "serving acme-health on http://127.0.0.1:7080\n"


def test_what_ends_it_is_an_object_and_no_result(estate: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manor.web.controller.control", speaking(None, Busy("it has a controller")))
    done = estate.run("serve", "--json")
    assert (done.exit_code, [json.loads(line)["event"] for line in done.stdout.splitlines()]) == (7, ["serving", "done"])
    assert json.loads(done.stderr)["error"] == "Busy"


def test_a_slow_reader_holds_nothing_up_and_hears_what_it_missed() -> None:
    going, begun = threading.Event(), threading.Event()
    written: list[str] = []

    def write(line: str) -> None:
        written.append(line)
        begun.set()
        going.wait(LIMIT_SECONDS)

    slow = Outlet(write, most_held=2)
    slow.put("1")
    assert begun.wait(LIMIT_SECONDS)
    for line in "23456":
        slow.put(line)
    going.set()
    slow.close()
    assert written == ["1", '{"event": "dropped", "count": 3}', "2", "3"]


def test_a_reader_that_never_reads_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet, "LAST_SECONDS", 0.01)
    never = threading.Event()

    def write(_line: str) -> None:
        never.wait(LIMIT_SECONDS)

    stuck = Outlet(write)
    stuck.put("1")
    stuck.close()
    assert stuck._thread.is_alive(), "whoever closes does not wait for it"
    never.set()


def test_a_reader_that_is_gone_is_not_written_to() -> None:
    tried: list[str] = []

    def write(line: str) -> None:
        tried.append(line)
        raise BrokenPipeError

    gone = Outlet(write)
    gone.put("1")
    gone._thread.join(LIMIT_SECONDS)
    gone.put("2")
    gone.close()
    assert tried == ["1"]
