"""Calls as values, and answers as values; no supervisord."""

from __future__ import annotations

import xmlrpc.client
from pathlib import Path
from typing import Any

import pytest

from manor.errors import ManorError
from manor.execution.values import Act, Command, Completed, Effect, HostPath, HttpRequest
from manor.integrations.supervisors.base import Program, ProgramStatus
from manor.integrations.supervisors.supervisor import product
from tests.integrations.supervisors.supervisor.support import host_of

SHOP = Program("shop-a", ("true",), "service/shop", HostPath("/x"), stop_seconds=7.0)
HOST = host_of(Path("/srv/manor"), SHOP)


def asked(act: Act) -> tuple[Any, str | None]:
    assert isinstance(act, HttpRequest)
    parameters: Any
    parameters, method = xmlrpc.client.loads(act.body or b"")
    return parameters, method


def answer(value: Any) -> Completed:
    return Completed(200, xmlrpc.client.dumps((value,), methodresponse=True).encode())


def fault(code: int, text: str) -> Completed:
    return Completed(200, xmlrpc.client.dumps(xmlrpc.client.Fault(code, text)).encode())


def info(name: str, state: str, code: int = 0, pid: int = 0) -> dict[str, Any]:
    return {"name": name, "statename": state, "exitstatus": code, "pid": pid, "start": 1700000000, "description": "d", "spawnerr": ""}


def test_update_is_one_call_that_names_only_what_changed() -> None:
    (act,) = product.update(HOST, added=("new",), changed=("shop-a",), removed=("old",))
    (calls,), method = asked(act)
    assert method == "system.multicall"
    assert [(call["methodName"].removeprefix("supervisor."), call["params"]) for call in calls] == [
        ("reloadConfig", []),
        ("stopProcessGroup", ["old", True]),
        ("removeProcessGroup", ["old"]),
        ("stopProcessGroup", ["shop-a", True]),
        ("removeProcessGroup", ["shop-a"]),
        ("addProcessGroup", ["shop-a"]),
        ("addProcessGroup", ["new"]),
    ]
    assert isinstance(act, HttpRequest)
    assert act.timeout_seconds == 30 + (30 + 10) + (7 + 10)
    assert product.update(HOST, (), (), ()) == ()


def test_what_was_done_before_is_no_error() -> None:
    assert product.parse_done(product.start_program(HOST, "shop-a"), fault(60, "ALREADY_STARTED: shop-a")) is None
    assert product.parse_done(product.stop_program(HOST, "shop-a", 5), fault(70, "NOT_RUNNING: shop-a")) is None
    (act,) = product.update(HOST, ("new",), (), ("old",))
    gone = {"faultCode": 10, "faultString": "BAD_NAME: old"}
    added = {"faultCode": 90, "faultString": "ALREADY_ADDED: new"}
    assert product.parse_done(act, answer([[[["new"], [], ["old"]]], gone, gone, added])) is None


def test_faults_that_matter_are_told() -> None:
    start = product.start_program(HOST, "shop-x")
    assert product.parse_done(start, fault(10, "BAD_NAME: shop-x")) == "supervisor.startProcess: BAD_NAME: shop-x"
    (act,) = product.update(HOST, (), (), ("old",))
    refused = {"faultCode": 92, "faultString": "CANT_REREAD: bad"}
    still = {"faultCode": 91, "faultString": "STILL_RUNNING: old"}
    assert (
        product.parse_done(act, answer([refused, [], still])) == "supervisor.reloadConfig: CANT_REREAD: bad; supervisor.removeProcessGroup: STILL_RUNNING: old"
    )
    everything, shutdown, gone = product.stop(HOST)
    member = {"name": "shop-a", "group": "shop-a", "status": 30, "description": "FAILED: x"}
    assert product.parse_done(everything, answer([member])) == "supervisor.stopAllProcesses: shop-a: FAILED: x"
    assert product.parse_done(shutdown, fault(6, "SHUTDOWN_STATE")) is None
    assert product.parse_done(gone, Completed(1)) == "still there after its time:"


def test_states_in_our_words() -> None:
    views = product.parse_status(
        answer(
            [
                info("up", "RUNNING", pid=42),
                info("idle", "EXITED"),
                info("crashed", "EXITED", code=1),
                info("lost", "BACKOFF"),
                info("ended", "STOPPED"),
            ]
        )
    )
    assert {view.name: view.status for view in views} == {
        "crashed": ProgramStatus.FAILED,
        "ended": ProgramStatus.STOPPED,
        "idle": ProgramStatus.STOPPED,
        "lost": ProgramStatus.FAILED,
        "up": ProgramStatus.RUNNING,
    }
    up = views[-1]
    assert (up.name, up.pid, up.started_at, up.detail) == ("up", 42, 1700000000.0, "RUNNING d")


@pytest.mark.parametrize("completed", [answer("x"), Completed(200, b"<html>"), Completed(200, b""), fault(1, "UNKNOWN_METHOD")])
def test_an_undocumented_answer_is_an_error(completed: Completed) -> None:
    with pytest.raises(ManorError, match="supervisord"):
        product.parse_status(completed)
    with pytest.raises(ManorError, match="supervisord"):
        product.parse_pid(completed)


def test_acts_say_what_they_touch() -> None:
    assert product.stop_program(HOST, "shop-a", 5).touch.subject == "service/shop"
    assert product.signal_program(HOST, "shop-a", "HUP").touch.effect is Effect.RUNTIME
    assert product.status(HOST).touch.effect is Effect.READ
    assert product.start(HOST).touch.effect is Effect.FULL


def test_start_leaves_nothing_of_our_environment_to_programs() -> None:
    start = product.start(HOST)
    assert isinstance(start, Command)
    assert start.argv[:2] == ("/usr/bin/env", "-i")


def test_complaints_of_the_parser_are_its_own_words() -> None:
    refused = Completed(2, err=b"Error: program section x does not specify a command\nFor help, use -c -h\n")
    assert product.parse_check(refused) == ("program section x does not specify a command",)
    assert product.parse_check(Completed(2)) == ("refused with code 2",)
    assert product.parse_check(Completed(0)) == ()
