"""What an operation tells while it goes on: one value a line of progress, the same for people and `--json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias


class What(StrEnum):
    """What happened."""

    STARTED = "started"
    INTENT = "intent"
    SAID = "said"
    DONE = "done"
    RECOVERED = "recovered"
    COMPENSATED = "compensated"
    SKIPPED = "skipped"
    FAILED = "failed"
    REVERTING = "reverting"
    PAUSED = "paused"
    ENDED = "ended"


@dataclass(frozen=True)
class Event:
    """One thing that happened; `seq` 0 where it speaks of the operation as a whole."""

    what: What
    at: float
    operation: str
    text: str
    seq: int = 0
    host: str = ""
    kind: str = ""
    seconds: float = 0.0
    """How long the step took; 0 before its end."""
    hosts: Mapping[str, str] = field(default_factory=dict)
    """At the end of an operation, or at its pause: how each host came off (docs/operations.md, outcome a host)."""

    def line(self) -> str:
        """Return the line for an operator, e.g. `prod/web-2  drain  12 requests in flight → 0  in 1.8 s`."""
        took = f"in {self.seconds:.1f} s" if self.seconds >= 0.05 else ""
        return "  ".join(part for part in (self.host, self.kind, self.text, took) if part)


Listener: TypeAlias = Callable[[Event], None]


def silent(_event: Event) -> None:
    """Listen to nothing."""
