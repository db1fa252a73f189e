"""Programs that speak CGI: what they say, and that nothing of them stays."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from manor.errors import CommandFailed
from manor.execution.cgi import CgiHead, CgiProgram, parse_head, started
from manor.execution.values import HostPath


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("Content-Type: a/b\r\n", CgiHead(200, (("content-type", "a/b"),))),
        ("Status: 404 Not Found\r\nX: 1\r\n", CgiHead(404, (("x", "1"),))),
        ("X: a: b\nStatus: 500\n", CgiHead(500, (("x", "a: b"),))),
        ("", CgiHead(200, ())),
    ],
)
def test_heads(text: str, head: CgiHead) -> None:
    assert parse_head(text) == head


@pytest.mark.parametrize("text", ["no colon\n", "Status: what\n"])
def test_what_is_no_head(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_head(text)


def program(script: str, *words: str, env: dict[str, str] | None = None) -> CgiProgram:
    """Return a shell script as a program."""
    return CgiProgram(("/bin/sh", "-c", script, "sh", *words), {"PATH": "/usr/bin:/bin", **(env or {})}, HostPath("/"))


@pytest.mark.native
async def test_both_bodies_stream_and_nothing_is_inherited() -> None:
    os.environ["MANOR_TEST_LEAK"] = "1"
    try:
        async with started(program('printf "X: $OWN\\r\\nLeak: $MANOR_TEST_LEAK\\r\\n\\r\\n"; cat', env={"OWN": "mine"})) as exchange:
            assert await exchange.feed(b"one ")
            assert await exchange.head() == CgiHead(200, (("x", "mine"), ("leak", "")))
            assert await exchange.feed(b"two")
            await exchange.end_of_body()
            assert b"".join([chunk async for chunk in exchange.body()]) == b"one two"
    finally:
        del os.environ["MANOR_TEST_LEAK"]


@pytest.mark.native
async def test_a_program_that_does_not_read_is_told_apart() -> None:
    async with started(program('exec 0<&-; printf "\\r\\n"; sleep 0.2; echo bye')) as exchange:
        while await exchange.feed(b"x" * 100_000):
            pass
        assert (await exchange.head()).status == 200
        assert b"".join([chunk async for chunk in exchange.body()]) == b"bye\n"


@pytest.mark.native
@pytest.mark.parametrize("script", ["echo oops >&2; exit 3", "echo nonsense", "yes", "head -c 200000 /dev/zero", "printf 'nonsense\\n\\n'"])
async def test_no_answer_is_an_error(script: str) -> None:
    async with started(program(script)) as exchange:
        await exchange.end_of_body()
        with pytest.raises(CommandFailed, match="CGI answer"):
            await exchange.head()


@pytest.mark.native
@pytest.mark.parametrize("stubborn", ["", "trap '' TERM;"])
async def test_leaving_ends_all_that_was_started(tmp_path: Path, stubborn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manor.execution.cgi.EOF_SECONDS", 0.2)
    monkeypatch.setattr("manor.execution.cgi.TERM_SECONDS", 0.5)
    script = f'{stubborn} sleep 60 & echo $! > "$1"; printf "\\r\\n"; sleep 60'
    async with started(program(script, str(tmp_path / "pid"))) as exchange:
        await exchange.head()
        child = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]


@pytest.mark.native
async def test_cancelling_waits_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manor.execution.cgi.EOF_SECONDS", 0.2)
    running: asyncio.Queue[int] = asyncio.Queue()

    async def carry() -> None:
        async with started(CgiProgram((sys.executable, "-c", "import time; print(); time.sleep(60)"), {}, HostPath("/"))) as exchange:
            running.put_nowait(exchange.pid)
            await asyncio.sleep(60)

    task = asyncio.create_task(carry())
    pid = await asyncio.wait_for(running.get(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not Path(f"/proc/{pid}").exists()
