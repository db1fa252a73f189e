"""Workers, listeners and the first token, without a network but for one loopback socket."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from manor.errors import Busy, UsageError
from manor.execution.values import Secret
from manor.state import tokens
from manor.state.store import Store
from manor.web import server
from manor.web.server import Worker, every, kept_alive, listen_on_port, listen_on_socket
from manor.web.tokens import token_check


async def test_a_worker_that_fails_is_started_again(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(server, "FIRST_PAUSE_SECONDS", 0.0)
    turns = 0

    async def work() -> None:
        nonlocal turns
        turns += 1
        if turns < 4:
            raise OSError("disk full")

    with caplog.at_level(logging.ERROR):
        await kept_alive(Worker("ledger", work))
    assert turns == 4
    assert caplog.text.count("the worker ledger failed") == 3


async def test_one_failed_turn_does_not_end_the_others(caplog: pytest.LogCaptureFixture) -> None:
    enough, turns = asyncio.Event(), 0

    async def work() -> None:
        nonlocal turns
        turns += 1
        if turns == 3:
            enough.set()
        raise OSError("no answer")

    task = asyncio.ensure_future(every(0.0, "ledger", work).work())
    await asyncio.wait_for(enough.wait(), 5)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "ledger failed; it is tried again" in caplog.text


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    first = listen_on_port("127.205.0.3", 0)
    with first.socket, pytest.raises(Busy, match="somebody listens there already"):
        listen_on_port("127.205.0.3", int(first.url.rsplit(":", 1)[1]))
    with pytest.raises(UsageError, match="cannot listen there"):
        listen_on_port("192.0.2.1", 0)


@pytest.mark.native  # it knocks at the socket
def test_a_socket_left_by_a_killed_server_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "s"
    left = listen_on_socket(path)
    with pytest.raises(Busy):
        listen_on_socket(path)
    left.socket.close()
    again = listen_on_socket(path)
    assert path.stat().st_mode & 0o777 == 0o600
    again.socket.close()
    with pytest.raises(UsageError, match="107 bytes"):
        listen_on_socket(tmp_path / ("x" * 120))


async def test_the_first_token_is_shown_once(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        token = store.write_now(tokens.first_admin, "a test", at=1.0)
        assert token
        assert store.write_now(tokens.first_admin, "a test", at=1.0) is None
        grant = await token_check(store)(token)
        assert grant
        assert grant.allows("push")
        assert await token_check(store)(Secret("wrong")) is None
        assert token.value.encode() not in (tmp_path / "state.db").read_bytes()
