"""The closed sets of words that stand in the store's columns.

Invariant: a word that was ever written is never renamed or removed without a migration; one that nobody writes does not stand here.
"""

from __future__ import annotations

from enum import StrEnum


class OperationState(StrEnum):
    """How an operation stands."""

    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"
    """Stopped at a safe place; a person decides: resume or abandon."""
    DONE = "done"
    REVERTED = "reverted"
    """Failed, and what the caller planned for that case was carried out in full."""
    FAILED = "failed"
    """Failed, and not (fully) reverted."""
    ABANDONED = "abandoned"

    @property
    def is_final(self) -> bool:
        """Tell whether nothing more will happen."""
        return self in FINAL


FINAL = frozenset({OperationState.DONE, OperationState.REVERTED, OperationState.FAILED, OperationState.ABANDONED})


class DeliveryState(StrEnum):
    """How a delivery stands."""

    OPEN = "open"
    """Carried out, or to be gone on with by whoever comes next."""
    PAUSED = "paused"
    """Stopped on its way; a person decides: resume or abandon."""
    DONE = "done"
    """Went as far as it may."""
    FAILED = "failed"
    ABANDONED = "abandoned"
    SUPERSEDED = "superseded"
    """Paused, and a newer one of the service was begun."""

    @property
    def is_final(self) -> bool:
        """Tell whether nothing more will happen."""
        return self not in (DeliveryState.OPEN, DeliveryState.PAUSED)


class Outcome(StrEnum):
    """How a step, or all steps of a host, ended."""

    PENDING = "pending"
    OK = "ok"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    SKIPPED = "skipped"


class JournalEvent(StrEnum):
    """What a line of the journal says about a step."""

    INTENT = "intent"
    DONE = "done"
    RECOVERED = "recovered"
    """Its postcondition was found to hold although no DONE was written."""
    COMPENSATED = "compensated"
    FAILED = "failed"
    SKIPPED = "skipped"


class Slot(StrEnum):
    """One of the two places of an instance."""

    A = "a"
    B = "b"

    @property
    def other(self) -> Slot:
        """Return the other one."""
        return Slot.B if self is Slot.A else Slot.A


class Traffic(StrEnum):
    """What the switching tier gives to a slot."""

    NONE = "none"
    READY = "ready"
    DRAINING = "draining"


class Standing(StrEnum):
    """What is known about a release in an environment."""

    CERTIFIED = "certified"
    BURNED = "burned"


class RunState(StrEnum):
    """How a pipeline's run, or one of its steps, stands."""

    WAITING = "waiting"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
