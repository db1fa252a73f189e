"""Ctrl-C once and twice: finish the current steps and pause, or go at once.

Invariant: leaving at once writes nothing; the journal and the lease's expiry take care of the rest (docs/operations.md).
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130
"""128 + SIGINT, as shells count."""


class Stop:
    """A wish, shared by all who can end an operation early."""

    def __init__(self) -> None:
        """Nobody wishes it yet."""
        self.reason = ""

    @property
    def is_requested(self) -> bool:
        """Tell whether somebody asked for it."""
        return bool(self.reason)

    def request(self, reason: str) -> None:
        """Ask that current steps be finished and no new one begun."""
        self.reason = self.reason or reason


def leave_at_once() -> None:
    """End the process without a word to anybody."""
    os._exit(INTERRUPTED)


@contextmanager
def stop_on_signals(stop: Stop, tell: Callable[[str], None], leave: Callable[[], None] = leave_at_once) -> Iterator[None]:
    """Within the body, the first SIGINT or SIGTERM requests a stop, the next one calls `leave`. Needs a running loop in the main thread."""
    loop = asyncio.get_running_loop()

    def heard(name: str) -> None:
        if stop.is_requested:
            leave()
        stop.request(f"stopped by {name}")
        tell(f"{name}: finishing the current steps, then pausing; once more leaves at once")

    names = ("SIGINT", "SIGTERM")
    for name in names:
        loop.add_signal_handler(getattr(signal, name), heard, name)
    try:
        yield
    finally:
        for name in names:
            loop.remove_signal_handler(getattr(signal, name))
