"""A CGI program (RFC 3875) in a session of its own, streaming both ways.

Invariant: leaving the `async with` ends the program and all it started; nothing of it outlives its exchange.
Invariant: memory is bounded: neither body is ever held as a whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass
from typing import TypeVar

from manor.errors import CommandFailed
from manor.execution.values import HostPath

Pipe = TypeVar("Pipe", asyncio.StreamReader, asyncio.StreamWriter)

CHUNK_BYTES = 64 * 1024
HEAD_BYTES = 64 * 1024
STDERR_BYTES = 16 * 1024
EOF_SECONDS = 1.0
TERM_SECONDS = 5.0


@dataclass(frozen=True)
class CgiProgram:
    """What to start. `env` is the whole environment: nothing is inherited."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: HostPath


@dataclass(frozen=True)
class CgiHead:
    """The status and headers that the program answered with."""

    status: int
    headers: tuple[tuple[str, str], ...]


def parse_head(text: str) -> CgiHead:
    """Return the head from its lines, `Status:` taken out (RFC 3875, 6.3.3). Raises ValueError."""
    pairs = [line.split(":", 1) for line in text.splitlines() if line]
    headers = [(name.strip().lower(), value.strip()) for name, value in pairs]
    status = next((value for name, value in headers if name == "status"), "200 OK")
    return CgiHead(int(status.split()[0]), tuple((name, value) for name, value in headers if name != "status"))


class CgiExchange:
    """One running program: feed it, read its head, then its body."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Take over a started process; use `started` instead."""
        self._process = process
        self._complaints = asyncio.create_task(_tail(process.stderr))

    @property
    def pid(self) -> int:
        """The program's process, and its group."""
        return self._process.pid

    async def feed(self, chunk: bytes) -> bool:
        """Pass on a part of the request's body; False once the program no longer reads (it may still answer)."""
        stdin = _pipe(self._process.stdin)
        if stdin.is_closing():
            return False
        try:
            stdin.write(chunk)
            await stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    async def end_of_body(self) -> None:
        """Tell the program that the request's body is complete."""
        stdin = _pipe(self._process.stdin)
        stdin.close()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await stdin.wait_closed()

    async def head(self) -> CgiHead:
        """Return the answer's head. Raises CommandFailed when the program ends or babbles instead."""
        try:
            return parse_head((await self._head_lines()).decode("latin-1"))
        except ValueError:
            raise CommandFailed(f"{self.pid} does not give a CGI answer", 1) from None

    async def _head_lines(self) -> bytes:
        stdout, lines = _pipe(self._process.stdout), bytearray()
        while (line := await stdout.readline()) not in (b"\r\n", b"\n"):
            lines += line
            if not line or len(lines) > HEAD_BYTES:
                raise CommandFailed(f"{self.pid} gave no CGI answer: {await self.complaints()}", self._process.returncode or 1)
        return bytes(lines)

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the answer's body as it comes."""
        stdout = _pipe(self._process.stdout)
        while chunk := await stdout.read(CHUNK_BYTES):
            yield chunk

    async def complaints(self) -> str:
        """Return the last of what the program wrote to standard error, once it has closed it (5 s at the most)."""
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(asyncio.shield(self._complaints), 5)
        return ""

    async def close(self) -> None:
        """End the program's whole group: by the end of its input (1 s), then TERM (5 s), then KILL.

        TERM right after the end of the input would cut short the cleaning up that the latter brings about (seen with git 2.39).
        """
        _pipe(self._process.stdin).close()
        if not await self._ends_within(EOF_SECONDS):
            _signal_group(self._process.pid, signal.SIGTERM)
            if not await self._ends_within(TERM_SECONDS):
                _signal_group(self._process.pid, signal.SIGKILL)
                await self._discard()
        self._complaints.cancel()

    async def _ends_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._discard(), seconds)
        except TimeoutError:
            return False
        return True

    async def _discard(self) -> None:
        stdout = _pipe(self._process.stdout)
        while await stdout.read(CHUNK_BYTES):
            pass
        await self._process.wait()


@contextlib.asynccontextmanager
async def started(program: CgiProgram) -> AsyncIterator[CgiExchange]:
    """Start a program in a session of its own; it is ended on leaving, and leaving waits for that even when cancelled."""
    process = await asyncio.create_subprocess_exec(
        *program.argv,
        env=dict(program.env),
        cwd=program.cwd,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    exchange = CgiExchange(process)
    try:
        yield exchange
    finally:
        await _to_the_end(exchange.close())


async def _to_the_end(closing: Coroutine[object, object, None]) -> None:
    task = asyncio.ensure_future(closing)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def _tail(stream: asyncio.StreamReader | None) -> str:
    kept = b""
    while chunk := await _pipe(stream).read(4096):
        kept = (kept + chunk)[-STDERR_BYTES:]
    return kept.decode("utf-8", "replace").strip()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def _pipe(pipe: Pipe | None) -> Pipe:
    if pipe is None:
        raise RuntimeError("started without this pipe")
    return pipe
