"""Time as a value that is handed in, so that tests live in a time of their own.

Invariant: everything in the store is UTC in seconds since 1970; nothing above this module calls `time.time`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits for it."""

    def now(self) -> float:
        """Return UTC seconds since 1970."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds of this clock."""
        ...

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """Bound the body to that many seconds of this clock; raises TimeoutError like `asyncio.timeout`."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> float:
        """Return UTC seconds since 1970."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """Bound the body to that many seconds."""
        return asyncio.timeout(seconds)
