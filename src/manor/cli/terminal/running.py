"""Runs a verb's coroutine: Ctrl-C once finishes the current step and pauses, twice leaves at once and says what is left."""

from __future__ import annotations

import asyncio
import getpass
import os
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from manor.cli.terminal.printing import say_aside
from manor.errors import ManorError
from manor.operations.stop import Stop, leave_at_once, stop_on_signals

if TYPE_CHECKING:
    from manor.operations.events import Listener
    from manor.workflows.context import Context
    from manor.workflows.rolling import Carrying

Result = TypeVar("Result")


def run(work: Callable[[Stop], Awaitable[Result]], leave: Callable[[], None] = leave_at_once) -> Result:
    """Run to the end and return what it returns."""

    async def with_signals() -> Result:
        stop = Stop()
        with stop_on_signals(stop, say_aside, leave):
            return await work(stop)

    return asyncio.run(with_signals())


def run_changing(context: Context, work: Callable[[Stop], Awaitable[Result]]) -> Result:
    """Run what changes something; who leaves at once is told what of it is left."""
    return run(work, lambda: leave_telling(context))


def leave_telling(context: Context, leave: Callable[[], None] = leave_at_once) -> None:
    """Say what is left half-way and who goes on with it, then end the process; that it can't be said keeps nobody."""
    from manor.workflows.leaving import left_behind

    try:
        for line in left_behind(context):
            say_aside(line)
    except (ManorError, OSError) as error:
        say_aside(f"left at once; what is half done could not be looked up ({error}): `manor status` shows it")
    finally:
        leave()


def run_reading(work: Coroutine[object, object, None]) -> None:
    """Run what only reads, until it ends or Ctrl-C ends it."""
    with suppress(KeyboardInterrupt):
        asyncio.run(work)


def carrying_out(stop: Stop, tell: Listener, wait_seconds: float) -> Carrying:
    """Return how a verb carries its operations out: for whoever asks, told to `tell`, ended by `stop`, killed where the environment says so."""
    from manor.operations.chaos import chaos_from
    from manor.workflows.rolling import Carrying

    return Carrying(actor(), tell, stop, chaos_from(os.environ), wait_seconds)


def actor() -> str:
    """Return who is asking: the user of this machine."""
    return f"local:{getpass.getuser()}"
