"""What lost requests say of a rollout: those that were lost before anything was touched are not its doing (docs/receipt.md).

Invariant: pure; a service that worked before has to work all the time, one that was failing has to work once the new release serves alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FAILING_SHARE, FAILING_LEAST, FAILING_LATE = 0.1, 5, 2
"""A service was failing already if so many requests, and this share of them, were lost before anything was touched, and some of these at the end of that."""


@dataclass(frozen=True)
class Count:
    """Requests of the probe that were sent in a stretch of time, and lost of them."""

    sent: int = 0
    lost: int = 0


NOTHING = Count()


@dataclass(frozen=True)
class Losses:
    """Requests of the probe, in all and before the first act on a host; `before` counts those that had ended by then."""

    sent: int
    lost: int
    sent_before: int = 0
    lost_before: int = 0
    late: Count = NOTHING
    """Of those before, the ones that ended in the second half of that time."""
    alone: Count = NOTHING
    """Since the last slot was admitted or emptied: the new release served alone."""

    @property
    def was_failing(self) -> bool:
        """Tell whether the service was failing before anything was touched, and until then."""
        return is_failing(Count(self.sent_before, self.lost_before), self.late)

    @property
    def lost_since(self) -> int:
        """How many were lost since."""
        return self.lost - self.lost_before

    def verdict(self, budget: int) -> Literal["pass", "fail", "not judged"]:
        """Return what was lost since means; not judged: more than the budget, but of a service that was failing, and none too many of them alone."""
        if self.lost_since <= budget:
            return "pass"
        return "not judged" if self.was_failing and self.alone.sent and self.alone.lost <= budget else "fail"

    def is_within(self, budget: int) -> bool:
        """Tell whether what was lost since is accepted."""
        return self.verdict(budget) != "fail"

    @property
    def why_not_judged(self) -> str:
        """Say why losses beyond the budget are not held against a release, with what is known of it."""
        return f"the service was failing before; since the new release serves alone {self.alone.lost:,} of {self.alone.sent:,} were lost"

    def __str__(self) -> str:
        """Return it for people, e.g. `lost 33 of 95, all of them before anything was touched`."""
        told = f"lost {self.lost:,} of {self.sent:,}"
        if not self.lost_before:
            return told
        part = "all" if self.lost == self.lost_before else f"{self.lost_before:,}"
        failing = ", when the service was failing already" if self.was_failing else ""
        return f"{told}, {part} of them before anything was touched{failing}"


@dataclass(frozen=True)
class SoFar:
    """What the probe has seen before anything was touched."""

    ended: Count = NOTHING
    late: Count = NOTHING
    """Of these, the ones that ended in the second half of the time."""
    waiting: int = 0
    """Requests without an end yet."""

    @property
    def is_doubtful(self) -> bool:
        """Tell whether it takes longer to know if the service is failing: something was lost, or most of it is not answered."""
        return not is_failing(self.ended, self.late) and (self.ended.lost > 0 or self.waiting > self.ended.sent)


def is_failing(ended: Count, late: Count) -> bool:
    """Tell whether a service is failing of which so many were lost, and so many of them late."""
    return is_more(ended, FAILING_LEAST) and is_more(late, FAILING_LATE)


def is_more(count: Count, least: int) -> bool:
    """Tell whether so many were lost, and more than now and then one."""
    return count.lost >= max(least, FAILING_SHARE * count.sent)
