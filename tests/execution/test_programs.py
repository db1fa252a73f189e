"""The local runner with real programs, sockets and servers."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from manor.errors import CommandFailed, TimedOut, Unreachable
from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.execution.values import Command, Connect, HostPath, HttpRequest, Secret, SocketCommand
from tests.execution.contract import CommandContract, Stage, guard_for

pytestmark = pytest.mark.native
ADDRESS = "127.201.0.1"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    root, foreign = tmp_path / "root", tmp_path / "foreign"
    root.mkdir()
    foreign.mkdir()
    return Stage(LocalRunner("prod/web-1", guard_for(HostPath(root), HostPath(foreign)), root=HostPath(root)), HostPath(root), HostPath(foreign))


@pytest.fixture
def runner(stage: Stage) -> LocalRunner:
    assert isinstance(stage.runner, LocalRunner)
    return stage.runner


class TestContract(CommandContract):
    pass


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until(condition: Callable[[], bool], limit_seconds: float = 10.0) -> None:
    async with asyncio.timeout(limit_seconds):
        while not condition():  # noqa: ASYNC110 - another process's doing, of which no event tells
            await asyncio.sleep(0.01)


async def test_the_environment_is_small_and_explicit(runner: LocalRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKED", "1")
    names = {line.partition("=")[0] for line in (await runner.run(Command(("env",), env={"OWN": "1"}))).text.splitlines()}
    assert names <= {"PATH", "LANG", "HOME", "LOGNAME", "TMPDIR", "TZ", "USER", "OWN"}
    assert {"PATH", "LANG", "OWN"} <= names


async def test_large_input_and_output_pass_whole(runner: LocalRunner) -> None:
    content = os.urandom(3_000_000)
    assert (await runner.run(Command(("cat",), stdin=content))).out == content


async def test_a_daemon_left_behind_does_not_keep_us_waiting(runner: LocalRunner) -> None:
    completed = await runner.run(Command(("sh", "-c", "sleep 30 & echo $!"), timeout_seconds=10))
    assert completed.seconds < 5
    os.kill(int(completed.text), signal.SIGKILL)


async def test_time_out_ends_the_whole_group(runner: LocalRunner) -> None:
    script = "trap '' TERM; (trap '' TERM; echo $BASHPID; while :; do sleep 0.1; done) & echo $! > pid; while :; do sleep 0.1; done"
    with pytest.raises(TimedOut, match=r"prod/web-1: `sh -c .*` was not done after 0.3 s and was ended"):
        await LocalRunner("prod/web-1", runner.guard, root=runner.root, grace_seconds=0.2).run(Command(("sh", "-c", script), timeout_seconds=0.3))
    assert runner.root
    pid = int(Path(runner.root / "pid").read_text())
    await until(lambda: not is_running(pid))


async def test_cancel_ends_the_whole_group(runner: LocalRunner) -> None:
    assert runner.root
    noted = Path(runner.root / "pid")
    task = asyncio.create_task(runner.run(Command(("sh", "-c", "sleep 60 & echo $! > pid.new; mv pid.new pid; wait"))))
    await until(noted.exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not is_running(int(noted.read_text())))


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (Command(("no-such-program", Secret("x"))), 127, "prod/web-1: `no-such-program ***`: the program does not exist"),
        (Command(("ls",), cwd=HostPath("/no/such")), 127, "prod/web-1: `ls`: the folder /no/such does not exist"),
        (Command(("/etc",)), 126, "prod/web-1: `/etc`: cannot be started: Permission denied"),
        (Command(("true", Secret("a\0b"))), 126, "prod/web-1: `true ***`: an argument or variable is none that a program can be given"),
        (Command(("sh", "-c", "kill -KILL $$")), -9, "prod/web-1: `sh -c 'kill -KILL $$'` ended with signal SIGKILL"),
        (Command(("sh", "-c", "echo only out; false")), 1, "prod/web-1: `sh -c 'echo only out; false'` ended with code 1\n    only out"),
    ],
)  # fmt: skip
async def test_messages_of_commands(runner: LocalRunner, command: Command, code: int, message: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        await runner.run(command)
    assert (caught.value.code, str(caught.value)) == (code, message)


async def test_only_so_many_go_on_at_once(runner: LocalRunner) -> None:
    narrow = LocalRunner("prod/web-1", runner.guard, root=runner.root, limit=asyncio.Semaphore(2))
    script = "mkdir a 2>/dev/null && { sleep 0.1; rmdir a; exit; }; mkdir b && { sleep 0.1; rmdir b; exit; }"
    await asyncio.gather(*(narrow.run(Command(("sh", "-c", script))) for _ in range(8)))


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()


@asynccontextmanager
async def admin_socket(path: Path, answer: bytes | None) -> AsyncIterator[HostPath]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if answer is None:
            await reader.read()
        writer.write((answer or b"") + line)
        await close(writer)
        ended.set()

    ended = asyncio.Event()
    server = await asyncio.start_unix_server(serve, str(path))
    try:
        yield HostPath(path)
    finally:
        server.close()
        await asyncio.wait_for(ended.wait(), 5)


async def test_a_socket_is_talked_to_to_its_end(runner: LocalRunner, tmp_path: Path) -> None:
    async with admin_socket(tmp_path / "s", b"x" * 200_000) as socket:
        completed = await runner.talk(SocketCommand(socket, "show stat"))
    assert completed.out == b"x" * 200_000 + b"show stat\n"


async def test_a_socket_that_does_not_answer_is_left(runner: LocalRunner, tmp_path: Path) -> None:
    async with admin_socket(tmp_path / "s", None) as socket:
        with pytest.raises(TimedOut) as caught:
            await runner.talk(SocketCommand(socket, "show stat", timeout_seconds=0.1))
    assert str(caught.value) == f"prod/web-1: `show stat > {tmp_path}/s`: no full answer within 0.1 s"


async def test_a_socket_that_is_not_there_is_unreachable(runner: LocalRunner, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"`show stat > .*/none`: No such file or directory"):
        await runner.talk(SocketCommand(HostPath(tmp_path / "none"), "show stat"))


@asynccontextmanager
async def web_server(where: str | Path, context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve 302 to everything, and note the requests' heads."""
    seen: list[bytes] = []
    begun = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal begun
        begun += 1
        with suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            seen.append(head)
            if b"/slow" not in head:
                writer.write(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 2\r\nX-Side: b\r\n\r\nhi")
            await reader.read()
        await close(writer)
        ended.release()

    ended = asyncio.Semaphore(0)
    if isinstance(where, Path):
        server = await asyncio.start_unix_server(serve, str(where))
        base = "http://socket"
    else:
        server = await asyncio.start_server(serve, where, 0, ssl=context)
        base = f"http{'s' if context else ''}://{where}:{server.sockets[0].getsockname()[1]}"
    try:
        yield base, seen
    finally:
        server.close()
        for _ in range(begun):
            await asyncio.wait_for(ended.acquire(), 5)


async def test_a_request_is_made_once_and_as_asked(runner: LocalRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.201.0.9:1")
    async with web_server(ADDRESS) as (base, seen):
        completed = await runner.request(HttpRequest("POST", f"{base}/x?y=1", headers={"Host": "shop.example", "Authorization": Secret("t")}, body=b"z"))
    assert (completed.code, completed.out, completed.headers["x-side"]) == (302, b"hi", "b")
    assert len(seen) == 1
    assert seen[0].startswith(b"POST /x?y=1 HTTP/1.1\r\n")
    assert b"\r\nHost: shop.example\r\n" in seen[0]
    assert b"\r\nAuthorization: t\r\n" in seen[0]


async def test_a_request_goes_over_a_unix_socket(runner: LocalRunner, tmp_path: Path) -> None:
    async with web_server(tmp_path / "web") as (base, seen):
        completed = await runner.request(HttpRequest("GET", f"{base}/api", socket=HostPath(tmp_path / "web")))
    assert (completed.code, len(seen)) == (302, 1)


async def test_a_connection_is_opened_or_refused_in_words(runner: LocalRunner) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), ADDRESS, 0)
    port = server.sockets[0].getsockname()[1]
    assert (await runner.carry_out(Connect(ADDRESS, port))).code == 0
    server.close()
    await server.wait_closed()
    with pytest.raises(Unreachable) as caught:
        await runner.connect(Connect(ADDRESS, port))
    assert str(caught.value).startswith(f"prod/web-1: `connect to {ADDRESS}:{port}`: ")


async def test_a_status_outside_ok_codes_fails_with_the_answers_end(runner: LocalRunner) -> None:
    async with web_server(ADDRESS) as (base, _):
        with pytest.raises(CommandFailed) as caught:
            await runner.request(HttpRequest("GET", f"{base}/", ok_codes=frozenset({200})))
    assert (caught.value.code, str(caught.value)) == (302, f"prod/web-1: `GET {base}/` answered 302\n    hi")


async def test_requests_fail_in_words(runner: LocalRunner) -> None:
    async with web_server(ADDRESS) as (base, _):
        with pytest.raises(TimedOut, match=r"`GET .*/slow`: no full answer within 0.2 s"):
            await runner.request(HttpRequest("GET", f"{base}/slow", timeout_seconds=0.2))
    with pytest.raises(Unreachable, match=r"prod/web-1: `GET http://127.201.0.1:1/`: "):
        await runner.request(HttpRequest("GET", "http://127.201.0.1:1/"))


async def test_a_header_that_cannot_be_sent_is_not_shown(runner: LocalRunner) -> None:
    async with web_server(ADDRESS) as (base, _):
        with pytest.raises((CommandFailed, Unreachable)) as caught:
            await runner.request(HttpRequest("GET", base, headers={"X": Secret("first-half\nsecond-half")}))
    assert "half" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_tls_is_verified_against_the_given_authority_and_the_host_header(tmp_path: Path) -> None:
    command = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=x")
    files = ("-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert"), "-addext", "subjectAltName=DNS:shop.example")
    runner = LocalRunner("prod/web-1", Guard("prod/web-1"))
    await runner.run(Command((*command, *files)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    async with web_server(ADDRESS, context) as (base, seen):
        good = HttpRequest("GET", base, headers={"Host": "shop.example:8443"}, ca_file=HostPath(tmp_path / "cert"))
        assert (await runner.request(good)).code == 302
        for bad in (HttpRequest("GET", base, headers={"Host": "other.example"}, ca_file=HostPath(tmp_path / "cert")), HttpRequest("GET", base)):
            with pytest.raises(Unreachable, match="certificate"):
                await runner.request(bad)
    assert len(seen) == 1
