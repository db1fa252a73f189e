"""Lines for a program that may read slowly, or go away, while what they tell of goes on.

Invariant: `put` never waits and never fails; what could not be kept for a slow reader is counted and told to it.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from contextlib import suppress

import click

MOST_HELD = 10_000
LAST_SECONDS = 2.0
LOOK_SECONDS = 0.1


class Outlet:
    """Writes lines in a thread of its own."""

    def __init__(self, write: Callable[[str], None] = click.echo, most_held: int = MOST_HELD) -> None:
        """Write with `write`; hold so many lines for a reader that is slow."""
        self._write = write
        self._held: queue.Queue[str] = queue.Queue(most_held)
        self._dropped, self._counting = 0, threading.Lock()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._carry, name="outlet", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Write a line soon."""
        if not self._thread.is_alive():
            return
        try:
            self._held.put_nowait(line)
        except queue.Full:
            with self._counting:
                self._dropped += 1

    def close(self) -> None:
        """Write what is held, and give a reader that does not take it 2 s."""
        self._ends.set()
        self._thread.join(LAST_SECONDS)

    def _carry(self) -> None:
        try:
            while not (self._ends.is_set() and self._held.empty()):
                with suppress(queue.Empty):
                    self._write(self._held.get(timeout=LOOK_SECONDS))
                    self._tell_dropped()
        except OSError:
            return  # nobody reads any more

    def _tell_dropped(self) -> None:
        with self._counting:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            self._write(json.dumps({"event": "dropped", "count": dropped}))
