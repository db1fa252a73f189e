"""A secret never shows itself: not in any value's text, not in an error, not in a log line, whatever it is made of."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manor.errors import ManorError, Unreachable
from manor.execution import http_requests, processes
from manor.execution.guard import Guard, Untouchable
from manor.execution.messages import last_lines, masked, secrets_of, shown
from manor.execution.recording import RecordingRunner
from manor.execution.values import Command, Completed, Detached, DetachedState, HostPath, HttpRequest, PutFile, Secret, SocketCommand

ROOT = HostPath("/srv/manor")
SECRETS = st.text(st.characters(codec="utf-8"), min_size=3, max_size=40).map(lambda text: f"q7{text}7q")


def values_with(secret: str) -> list[object]:
    """Return every kind of value that may hold a secret."""
    command = Command(("tool", Secret(secret)), env={"TOKEN": Secret(secret)}, stdin=secret.encode())
    return [
        Secret(secret),
        command,
        HttpRequest("GET", "http://x/", headers={"Authorization": Secret(secret)}, body=secret.encode()),
        PutFile(ROOT / "env", f"TOKEN={secret}".encode(), mode=0o600),
        Completed(0, secret.encode(), secret.encode()),
        Detached("key", ROOT / "ops", command),
        DetachedState(started=True),
        SocketCommand(ROOT / "s", "show stat"),
    ]


def traces_of(secret: str) -> set[str]:
    """Return how the secret would look in text."""
    return {secret, repr(secret)[1:-1], repr(secret.encode())[2:-1]}


@given(SECRETS)
def test_no_value_shows_it(secret: str) -> None:
    for value in values_with(secret):
        texts = [repr(value), str(value), f"{value}", f"{value!r:>5}", "%s %r" % (value, value), str([value]), str({"k": value})]  # noqa: UP031 - each way
        texts += [logging.LogRecord("n", 30, "f", 1, "%s %r", (value, value), None).getMessage()]
        for text in texts:
            assert not any(trace in text for trace in traces_of(secret)), text


@given(SECRETS)
def test_no_shown_act_and_no_output_shows_it(secret: str) -> None:
    command = Command(("tool", Secret(secret), "--x"), env={"TOKEN": Secret(secret)})
    assert secret not in shown(command)
    output = f"before {secret} after\n".encode() * 10
    assert secret not in last_lines(output, secrets_of(command))


@given(st.lists(SECRETS, min_size=1, max_size=4), SECRETS)
def test_of_secrets_that_hold_each_other_nothing_remains(secrets: list[str], inner: str) -> None:
    nested = [*secrets, inner, f"{inner}-{secrets[0]}"]
    command = Command(tuple(map(Secret, nested)))
    text = masked(" | ".join(nested), secrets_of(command))
    assert text == " | ".join("***" for _ in nested)


def everything_of(error: BaseException) -> str:
    """Return all that a traceback would print of it."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(error)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SECRETS)
def test_no_error_of_a_judged_act_shows_it(secret: str) -> None:
    command = Command(("tool", Secret(secret)), env={"T": Secret(secret)})
    request = HttpRequest("GET", "http://x/", headers={"A": Secret(secret)}, ok_codes=frozenset({200}))
    completed = Completed(9, secret.encode(), b"no: " + secret.encode())
    judges: tuple[Callable[[], Completed], ...] = (
        lambda: processes.judged(command, completed, ended=True, host="h"),
        lambda: processes.judged(command, completed, ended=False, host="h"),
        lambda: http_requests.judged(request, completed, "h"),
    )
    for judge in judges:
        with pytest.raises(ManorError) as caught:
            judge()
        assert secret not in everything_of(caught.value)


@settings(deadline=None, max_examples=25)
@given(SECRETS)
async def test_no_error_of_a_runner_shows_it(secret: str) -> None:
    runner = RecordingRunner("h", Guard("h", untouchable=Untouchable(paths=(HostPath("/opt"),))))
    runner.reply("tool", Completed(1, err=secret.encode()))
    with pytest.raises(ManorError) as caught:
        await runner.run(Command(("tool", Secret(secret))))
    assert secret not in everything_of(caught.value)
    with pytest.raises(ManorError) as caught:
        await runner.run(Command(("tool", Secret(f"/opt/{secret.replace('/', '')}"))))
    assert secret.replace("/", "") not in everything_of(caught.value)
    with pytest.raises(ManorError) as caught:
        await runner.change([PutFile(HostPath("/opt/x"), secret.encode())])
    assert secret not in everything_of(caught.value)
    assert secret not in repr(runner.acts) + str(runner.shown)


@pytest.mark.native
@settings(deadline=None, max_examples=10)
@given(SECRETS.map(lambda text: text + "\r\n\0"))
async def test_a_header_that_no_request_can_carry_is_not_shown(secret: str) -> None:
    request = HttpRequest("GET", "http://127.201.0.1:1/", headers={"A": Secret(secret)}, timeout_seconds=2)
    with pytest.raises(ManorError) as caught:
        await http_requests.request(request, "h")
    assert secret.strip("\r\n\0") not in everything_of(caught.value)


@pytest.mark.native
async def test_an_unreachable_server_says_so_without_headers() -> None:
    password = "-".join(("pass", "1"))
    with pytest.raises(Unreachable) as caught:
        await http_requests.request(HttpRequest("GET", "http://127.201.0.1:1/", headers={"A": Secret(password)}), "h")
    assert password not in everything_of(caught.value)
