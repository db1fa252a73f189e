"""Reads and acts that end in time, whatever becomes of the disk or the line that they wait for (docs/execution.md).

Invariant: whoever waits gives way when the time is up or its task is cancelled; what still hangs keeps nobody waiting, not even this process's end.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeAlias, TypeVar

from manor.errors import TimedOut
from manor.execution.messages import shown
from manor.execution.values import FileAct, HostPath

READ_SECONDS = 30.0
"""A look at a whole host takes milliseconds; a share whose server is gone answers never."""
CHANGE_SECONDS = 60.0
"""A file act takes milliseconds; a disk under load may take seconds. Whole trees have a time of their own besides (`PutTree`, `Remove`)."""
STEP_SECONDS = 60.0
"""A detached program is started within 10 s and ended within 8 s; the rest is for its folder."""
LEAVE_SECONDS = 5.0
"""What was given up and does not end by then is left behind."""
Answer = TypeVar("Answer")
Begin: TypeAlias = Callable[[FileAct], None]
"""Says which act comes now: its time begins."""


async def bounded(work: Awaitable[Answer], seconds: float, host: str, what: str, paths: Sequence[HostPath]) -> Answer:
    """Wait for a read, or for what is done in a step's folder, at most so long. Raises TimedOut with host and path."""

    async def at_once(begin: Callable[[], None]) -> Answer:
        begin()
        return await work

    return await bounded_when_begun(at_once, seconds, host, what, paths)


async def bounded_when_begun(
    work: Callable[[Callable[[], None]], Awaitable[Answer]], seconds: float, host: str, what: str, paths: Sequence[HostPath]
) -> Answer:
    """Wait for it at most so long from when it says that it begins: a disk is not blamed for the time in which others had their turn. Raises TimedOut."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as limit:
            return await work(lambda: limit.reschedule(loop.time() + seconds))
    except TimeoutError as error:
        raise TimedOut(f"{host}: {what} {named(paths)}: no answer within {seconds:g} s; is the disk or share that it lies on still there?") from error


async def act_by_act(work: Callable[[Begin], Awaitable[None]], seconds_of: Callable[[FileAct], float], host: str) -> None:
    """Wait for file acts, for each at most so long from when it begins. Raises TimedOut with host and act."""
    loop, begun = asyncio.get_running_loop(), list[FileAct]()

    def begin(act: FileAct) -> None:
        begun.append(act)
        limit.reschedule(loop.time() + seconds_of(act))

    try:
        async with asyncio.timeout(None) as limit:
            await work(begin)
    except TimeoutError as error:
        raise TimedOut(
            f"{host}: {shown(begun[-1])}: not done within {seconds_of(begun[-1]):g} s; is the disk or share that it lies on still there? "
            "The call that hangs may still come through, and nothing after it"
        ) from error


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


async def in_kept_thread(work: Callable[[], Answer], give_up: Callable[[], None], leave_seconds: float) -> Answer:
    """Do blocking work in a thread; when cancelled, tell it to give up and wait for its end, but not longer than `leave_seconds`."""
    task = asyncio.ensure_future(in_own_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        give_up()
        await asyncio.wait([task], timeout=leave_seconds)
        if task.done():
            with suppress(Exception):  # the task was cancelled: that is what is told
                task.result()
        else:
            task.cancel()
        raise
