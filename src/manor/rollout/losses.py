"""What lost requests say of a rollout: those that were lost before anything was moved are not its doing (docs/receipt.md).

Invariant: pure; a service that worked before has to work all the time, one that was failing has to fail less.
"""

from __future__ import annotations

from dataclasses import dataclass

FAILING_SHARE, FAILING_LEAST = 0.1, 5
"""A service of which so many requests, and this share of them, were lost before anything was moved was failing already."""


@dataclass(frozen=True)
class Losses:
    """Requests of the probe, in all and before the first act on traffic; `before` counts those that had ended by then."""

    sent: int
    lost: int
    sent_before: int = 0
    lost_before: int = 0

    @property
    def was_failing(self) -> bool:
        """Tell whether the service was failing before anything was moved."""
        return self.lost_before >= max(FAILING_LEAST, FAILING_SHARE * self.sent_before)

    @property
    def lost_since(self) -> int:
        """How many were lost since."""
        return self.lost - self.lost_before

    def is_within(self, budget: int) -> bool:
        """Tell whether what was lost since is accepted: no more than the budget, or of a service that was failing a smaller share than before."""
        if self.lost_since <= budget:
            return True
        since = self.sent - self.sent_before
        return self.was_failing and self.lost_since * self.sent_before < self.lost_before * since

    def __str__(self) -> str:
        """Return it for people, e.g. `lost 33 of 95 requests, all of them before anything was moved`."""
        told = f"lost {self.lost:,} of {self.sent:,}"
        if not self.lost_before:
            return told
        part = "all" if self.lost == self.lost_before else f"{self.lost_before:,}"
        failing = ", when the service was failing already" if self.was_failing else ""
        return f"{told}, {part} of them before anything was moved{failing}"
