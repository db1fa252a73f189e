"""Reads that end in time, whatever becomes of the disk or the line that they wait for (docs/execution.md).

Invariant: whoever waits for a read gives way when its time is up or its task is cancelled; what still hangs keeps nobody waiting, not even this process's end.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from manor.errors import TimedOut
from manor.execution.values import HostPath

READ_SECONDS = 30.0
"""A look at a whole host takes milliseconds; a share whose server is gone answers never."""
Answer = TypeVar("Answer")


async def bounded(work: Awaitable[Answer], seconds: float, host: str, what: str, paths: Sequence[HostPath]) -> Answer:
    """Wait for a read, at most so long. Raises TimedOut with host and path."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError as error:
        raise TimedOut(f"{host}: {what} {named(paths)}: no answer within {seconds:g} s; is the disk or share that it lies on still there?") from error


def named(paths: Sequence[HostPath]) -> str:
    """Return paths as a person reads them: the first, and how many more."""
    first = str(paths[0]) if paths else "nothing"
    return f"{first} and {len(paths) - 1} more" if len(paths) > 1 else first


async def in_own_thread(work: Callable[[], Answer]) -> Answer:
    """Do a blocking read in a thread of its own, which is left behind when nobody waits any more."""
    ended: Future[Answer] = Future()
    ended.set_running_or_notify_cancel()

    def read() -> None:
        try:
            ended.set_result(work())
        except BaseException as error:  # noqa: BLE001 -- raised where it is waited for
            ended.set_exception(error)

    threading.Thread(target=read, name="manor-read", daemon=True).start()
    return await asyncio.wrap_future(ended)
