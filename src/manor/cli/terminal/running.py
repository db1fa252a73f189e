"""Runs a verb's coroutine: Ctrl-C once finishes the current step and pauses, twice leaves at once."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TypeVar

import click

from manor.operations.stop import Stop, stop_on_signals

Result = TypeVar("Result")


def run(work: Callable[[Stop], Awaitable[Result]]) -> Result:
    """Run to the end and return what it returns."""

    async def with_signals() -> Result:
        stop = Stop()
        with stop_on_signals(stop, lambda text: click.echo(text, err=True)):
            return await work(stop)

    return asyncio.run(with_signals())


def run_reading(work: Coroutine[object, object, None]) -> None:
    """Run what only reads, until it ends or Ctrl-C ends it."""
    with suppress(KeyboardInterrupt):
        asyncio.run(work)


def actor() -> str:
    """Return who is asking: the user of this machine."""
    return f"local:{getpass.getuser()}"
