"""What becomes of an operation that somebody left half-way when the next verb comes (docs/operations.md, adoption).

Invariant: decided from values alone, in one place: whoever comes next, and whoever foresees it, asks here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from manor.state.leases import lease_name
from manor.state.operations import Operation, unfinished_text, ways_on
from manor.state.words import OperationState
from manor.workflows.ending_hosts import VERB as DOWN

APPLY, ROLLBACK = "apply", "rollback"
FORWARD = frozenset({"ship", "promote", "restart"})
"""Rollouts that bring something new; a rollback returns already, and a removal has no way back."""


class Fate(Enum):
    """What the next verb does with what was left."""

    GO_ON = auto()
    """It is brought to its end first."""
    TURN_ROUND = auto()
    """It is not finished: what served before it serves again."""
    GIVE_UP_IF_DONE = auto()
    """It is given up where nothing of it is left to do, and waits for a person where something is."""
    WAIT = auto()
    """A person decides about it; the verb does not begin."""


@dataclass(frozen=True)
class Coming:
    """The verb that comes next."""

    verb: str
    environment: str
    service: str
    """Empty: it concerns the environment as a whole."""
    estate_digest: str
    plan: str = ""
    """The hash of the only plan that is wanted, or its beginning; empty: any."""

    @property
    def lease(self) -> str:
        """The name of the lease that it needs."""
        return lease_name(self.environment, self.service)


def fate_of(left: Operation, coming: Coming, *, has_certified: bool = False) -> Fate:
    """Decide about an operation that is paused, or running without anybody who carries it out, and in the way of what comes.

    `has_certified`: it is a rollout that has certified its release, and all that is left of it is to end.
    """
    is_orphan = left.state is OperationState.RUNNING
    if left.verb == APPLY and not coming.service:
        return Fate.GO_ON if leads_here(left, coming) else Fate.GIVE_UP_IF_DONE
    if left.verb == APPLY:
        return Fate.GO_ON if is_orphan and leads_here(left, coming) else Fate.WAIT
    if not is_orphan or not coming.service or left.lease != coming.lease:
        return Fate.WAIT
    return Fate.TURN_ROUND if is_left_by(coming, left) and not has_certified else Fate.GO_ON


def is_left_by(coming: Coming, left: Operation) -> bool:
    """Tell whether what comes is to bring an environment back from what an operation was to bring."""
    return coming.verb == ROLLBACK and left.verb in FORWARD


def leads_here(left: Operation, coming: Coming) -> bool:
    """Tell whether what is left of an apply leads to the estate as it is declared now."""
    return left.estate_digest == coming.estate_digest and left.plan_hash.startswith(coming.plan)


def refusal(left: Operation, coming: Coming) -> str:
    """Say what stands in the way of a verb and why that does not go on with it, with every command that does."""
    if left.state is OperationState.PAUSED:
        return unfinished_text(left)
    elsewhere = f", and leads to another estate than the present one: {coming.verb} does not go on with it" if left.verb == APPLY else ""
    ends = f"`manor down -e {left.environment}`, `manor up -e {left.environment}`, " if left.verb == DOWN else ""
    return f"operation {left.id} ({left.verb} {left.lease}) is half done, and nobody carries it out{elsewhere}; first {ends}{ways_on(left.id)}"
