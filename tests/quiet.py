"""Holds tests without a marker to what they promise: they start no process, open no connection and do not sleep.

Invariant: what was tried is refused, and told at the test's end too, should the code under test have swallowed the refusal.
Source: https://docs.python.org/3/library/audit_events.html
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

LOUD = ("native", "e2e", "crash")
"""Markers whose tests may do all that."""
PROCESSES = frozenset({"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "pty.spawn", "subprocess.Popen"})
CONNECTIONS = frozenset({"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendmsg", "socket.sendto"})
REFUSED = PROCESSES | CONNECTIONS


class Loud(Exception):
    """A test without a marker acts on the machine."""


class Watch:
    """What is watched at present, and what was seen."""

    def __init__(self) -> None:
        self.is_on = False
        self.seen: list[str] = []
        self.is_installed = False

    def hear(self, event: str, arguments: tuple[object, ...]) -> None:
        """Refuse an act; everything else passes."""
        if event in REFUSED and self.is_on:
            self.refuse(f"{event}{arguments}")

    def sleep(self, seconds: float) -> None:
        """Stand in for `time.sleep`: Python 3.11 does not announce it."""
        if seconds > 0:
            self.refuse(f"time.sleep({seconds})")

    def refuse(self, told: str) -> None:
        """Remember what was tried, and raise."""
        self.seen.append(told)
        raise Loud(f"{told}: a test that does this needs one of the markers {', '.join(LOUD)}")


WATCH = Watch()


@contextmanager
def watched() -> Iterator[None]:
    """Refuse acts meanwhile."""
    if not WATCH.is_installed:
        sys.addaudithook(WATCH.hear)  # can't be taken away again
        WATCH.is_installed = True
    WATCH.seen.clear()
    WATCH.is_on = True
    try:
        with patch("time.sleep", WATCH.sleep):
            yield
    finally:
        WATCH.is_on = False


def take_seen() -> list[str]:
    """Return what was refused since the test began, and forget it."""
    seen = list(WATCH.seen)
    WATCH.seen.clear()
    return seen
