"""Where a crash can be made to happen, for tests (docs/crash-testing.md).

Invariant: nothing here acts unless `MANOR_CRASH_ALLOWED=1` is set beside `MANOR_CRASH_AT`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TypeAlias

from manor.errors import UsageError


class Point(StrEnum):
    """The boundaries of one attempt at a step, from the first to the last."""

    BEFORE_INTENT = "before_intent"
    AFTER_INTENT = "after_intent"
    AFTER_ACT = "after_act"
    AFTER_DONE = "after_done"
    AFTER_COMPENSATION = "after_compensation"
    """Only where a step is taken back."""


Chaos: TypeAlias = Callable[[int, str, Point], None]
"""Called with the step's seq, its kind and the boundary; may never return."""


def no_chaos(_seq: int, _kind: str, _point: Point) -> None:
    """Let everything go on."""


def chaos_from(environ: Mapping[str, str]) -> Chaos:
    """Return what kills this process at `MANOR_CRASH_AT=<seq or kind>:<point>`, if `MANOR_CRASH_ALLOWED=1`. Raises UsageError."""
    wanted = environ.get("MANOR_CRASH_AT", "")
    if not wanted or environ.get("MANOR_CRASH_ALLOWED") != "1":
        return no_chaos
    step, _, word = wanted.rpartition(":")
    if not step or word not in list(Point):
        raise UsageError(f"MANOR_CRASH_AT={wanted}: write <seq or kind>:<point>, where a point is one of {', '.join(Point)}")
    return lambda seq, kind, point: die() if point == word and step in (str(seq), kind) else None


def die() -> None:
    """End this process at once, as a crash would: no handler, no cleaning up."""
    os.kill(os.getpid(), signal.SIGKILL)
