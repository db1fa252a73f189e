"""What lost requests say of a rollout: those that were lost before anything was touched are not its doing (docs/receipt.md).

Invariant: pure; a service that lost nothing before has to work all the time, one that did has to work once the new release serves alone. A return is
judged by what it returns to alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

FAILING_SHARE, FAILING_LEAST, FAILING_LATE = 0.1, 5, 2
"""A service was failing already if so many requests, and this share of them, were lost before anything was touched, and some of these at the end of that."""
LEAST_ALONE = 5
"""Fewer requests that the new release served alone show nothing of it."""
FAR_MORE_CHANCE = 0.001
"""What was lost since the first act is far more than before if chance alone gave that so seldom (one-sided exact test on the counts)."""

Verdict = Literal["pass", "fail", "not judged", "inconclusive"]


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
    is_return: bool = False
    """To a certified release: what the one that is left loses meanwhile says nothing of it."""

    @property
    def was_failing(self) -> bool:
        """Tell whether the service was failing before anything was touched, and until then."""
        return is_failing(Count(self.sent_before, self.lost_before), self.late)

    @property
    def lost_since(self) -> int:
        """How many were lost since."""
        return self.lost - self.lost_before

    @property
    def mixed(self) -> Count:
        """From the first act on until the new release served alone."""
        return Count(self.sent - self.sent_before - self.alone.sent, self.lost_since - self.alone.lost)

    @property
    def is_far_more(self) -> bool:
        """Tell whether far more was lost from the first act on than the old release can have lost by itself."""
        return not self.was_failing and chance(self.mixed, Count(self.sent_before, self.lost_before)) < FAR_MORE_CHANCE

    def verdict(self, budget: int) -> Verdict:
        """Return what was lost since means.

        Beyond the budget, and none too many of them alone: not judged on a return, or where some were lost before; inconclusive where that does not
        explain them, or too few were asked alone.
        """
        if self.lost_since <= budget:
            return "pass"
        if self.alone.lost > budget or not (self.is_return or self.lost_before):
            return "fail"
        return "not judged" if self.is_return or (self.alone.sent >= LEAST_ALONE and not self.is_far_more) else "inconclusive"

    def is_within(self, budget: int) -> bool:
        """Tell whether what was lost since is accepted."""
        return self.verdict(budget) in {"pass", "not judged"}

    @property
    def why(self) -> str:
        """Say why losses beyond the budget are not held against a release, with what is known of it."""
        alone = f"{self.alone.lost:,} of {self.alone.sent:,} were lost"
        if self.is_return:
            return f"a return is judged by what it returns to; since that serves alone {alone}"
        before = "the service was failing before" if self.was_failing else "requests were lost before too"
        if self.is_far_more:
            here, there = self.mixed, f"{self.lost_before:,} of {self.sent_before:,}"
            before += f", but {here.lost:,} of {here.sent:,} from the first act on are far more than {there}"
        few = f", too few to tell ({LEAST_ALONE} at the least); a longer `bake` or a higher rate of the `probe` asks more"
        return f"{before}; since the new release serves alone {alone}{few if self.alone.sent < LEAST_ALONE else ''}"

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


def chance(later: Count, before: Count) -> float:
    """Return how probable it is that so many or more of all that were lost fall among the later ones, if only chance decides which (hypergeometric)."""
    sent, lost = later.sent + before.sent, later.lost + before.lost
    whole = log_ways(sent, later.sent)
    drawn = range(later.lost, min(lost, later.sent) + 1)
    return sum(math.exp(log_ways(lost, k) + log_ways(sent - lost, later.sent - k) - whole) for k in drawn if later.sent - k <= sent - lost)


def log_ways(of: int, some: int) -> float:
    """Return the logarithm of how many ways there are to choose some of them."""
    return math.lgamma(of + 1) - math.lgamma(some + 1) - math.lgamma(of - some + 1)


def is_more(count: Count, least: int) -> bool:
    """Tell whether so many were lost, and more than now and then one."""
    return count.lost >= max(least, FAILING_SHARE * count.sent)
