"""The one long-running process: listens, runs the workers, and may be stopped or killed at any moment.

Invariant: nothing is known only here; what a worker does is found again in the store, the refs and on the hosts.
Invariant: a worker that fails is told about and started again; it never takes the server with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from manor.errors import Busy, UsageError
from manor.web.patience import PatientProtocol

log = logging.getLogger(__name__)
GRACE_SECONDS = 10.0
BACKLOG = 512
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0


@dataclass(frozen=True)
class Worker:
    """Something that goes on in the background as long as the server runs. `work` may return: then it is done."""

    name: str
    work: Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Listener:
    """A bound socket, and where to reach it."""

    socket: socket.socket
    url: str
    """For people: `http://127.0.0.1:7000`, or `unix:<path>`."""
    callback_base: str
    """For hooks on this machine."""


def every(seconds: float, name: str, work: Callable[[], Awaitable[None]]) -> Worker:
    """Return a worker that does this now and then every so many seconds; one failure is logged, and the next turn comes as usual."""

    async def turns() -> None:
        while True:
            try:
                await work()
            except Exception:
                log.exception("%s failed; it is tried again in %g s", name, seconds)
            await asyncio.sleep(seconds)

    return Worker(name, turns)


def listen_on_port(address: str, port: int) -> Listener:
    """Listen on a TCP port (0: any free one). Raises Busy if it is taken, UsageError if the address is not this machine's."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((address, port))
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise cannot_listen(f"{address}:{port}", error) from None
    port = bound.getsockname()[1]
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(address, f"[{address}]" if ":" in address else address)  # noqa: S104 -- compared, not bound
    return Listener(bound, f"http://{local}:{port}", f"http://{local}:{port}")


def listen_on_socket(path: Path) -> Listener:
    """Listen on a Unix socket (0600), in place of one that nobody listens on any more. Raises Busy, UsageError."""
    if len(os.fsencode(path)) > 107:
        raise UsageError(f"{path}: a socket's path may have 107 bytes")
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if path.is_socket():
        if bound.connect_ex(str(path)) == 0:
            bound.close()
            raise Busy(f"{path}: somebody listens there already; is `manor serve` running?")
        path.unlink()
    try:
        before = os.umask(0o177)
        bound.bind(str(path))
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise cannot_listen(str(path), error) from None
    finally:
        os.umask(before)
    return Listener(bound, f"unix:{path}", f"unix:{path}|")


def cannot_listen(place: str, error: OSError) -> Busy | UsageError:
    """Return what to tell a person whose address could not be bound."""
    if error.errno == errno.EADDRINUSE:
        return Busy(f"{place}: somebody listens there already; is `manor serve` running?")
    return UsageError(f"{place}: cannot listen there: {error.strerror}")


class Server(uvicorn.Server):
    """Uvicorn's server, stopped by us and not by its own signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


async def serve(
    app: ASGIApp, listener: Listener, workers: Sequence[Worker], stopping: asyncio.Event, finish: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, or until `stopping` is set; a second signal ends what is still open at once.

    On the way out: streams end (`stopping`), `finish` is awaited, requests have 10 s, workers are cancelled.
    """
    server = Server(settings(app))
    async with signals_caught(server, stopping), asyncio.TaskGroup() as group:
        running = [group.create_task(kept_alive(worker), name=worker.name) for worker in workers]
        serving = group.create_task(server.serve(sockets=[listener.socket]))
        await until_stopped(serving, stopping)
        if finish:
            await finish()
        server.should_exit = True
        await serving
        for task in running:
            task.cancel()


def settings(app: ASGIApp) -> uvicorn.Config:
    """Return uvicorn's settings: no access log (addresses of hooks are secrets), no `Server` header, no proxy's word for who asks; slow clients are ended."""
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(GRACE_SECONDS),
    )


async def until_stopped(serving: asyncio.Task[None], stopping: asyncio.Event) -> None:
    """Wait until somebody wants to stop, or the server ended by itself."""
    asked = asyncio.create_task(stopping.wait())
    await asyncio.wait({asked, serving}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    stopping.set()


async def kept_alive(worker: Worker) -> None:
    """Run a worker; after a failure again, with pauses from 1 s to 30 s."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            await worker.work()
        except Exception:
            log.exception("the worker %s failed; it starts again in %g s", worker.name, pause)
        else:
            return
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


@contextlib.asynccontextmanager
async def signals_caught(server: uvicorn.Server, stopping: asyncio.Event) -> AsyncIterator[None]:
    """Turn the first SIGTERM or SIGINT into `stopping`, the second into the end of what is still open."""

    def asked() -> None:
        server.force_exit = stopping.is_set()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
