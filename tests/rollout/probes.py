"""The probe of the model: it sees every request of the world, and what it says is cut up as the journal has it."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence

from manor.rollout.fleet import ProbeSummary
from manor.rollout.losses import Count, SoFar
from manor.rollout.spans import ProbeSpan
from tests.rollout.balancers import Loss

SHOWN = 3


class ModelProbe:
    """Counts what has ended by each tick."""

    def __init__(self) -> None:
        self.is_asking = False
        self.at, self.sent, self.lost = array("d"), array("q"), array("q")

    def start(self) -> None:
        """Begin to ask; one that asks already goes on."""
        self.is_asking = True

    def see(self, now: float, answered: int, lost: int) -> None:
        """Note how many requests have ended by now."""
        if self.is_asking:
            self.at.append(now)
            self.sent.append(answered + lost)
            self.lost.append(lost)

    def until(self, moment: float) -> Count:
        """Return what had ended before a moment."""
        place = bisect_left(self.at, moment)
        return Count(self.sent[place - 1] - self.sent[0], self.lost[place - 1] - self.lost[0]) if place else Count()

    def since(self, moment: float, until: float = float("inf")) -> Count:
        """Return what has ended from one moment to another."""
        first, last = self.until(moment), self.until(until)
        return Count(last.sent - first.sent, last.lost - first.lost)

    def so_far(self) -> SoFar:
        """Return what it has seen, all of it before anything was touched."""
        middle = (self.at[0] + self.at[-1]) / 2 if self.at else 0.0
        return SoFar(self.since(0.0), self.since(middle))

    def stop(self, span: ProbeSpan, losses: Sequence[Loss]) -> ProbeSummary:
        """End it and say what it saw."""
        self.is_asking = False
        seen, begin = self.since(0.0), self.at[0] if self.at else 0.0
        touched = span.touched_at if span.touched_at is not None else begin
        before, late = self.until(touched), self.since((begin + touched) / 2, touched)
        alone = self.since(span.alone_at) if span.alone_at is not None else Count()
        shown = tuple(loss.why for loss in losses if loss.at >= touched)[:SHOWN]
        return ProbeSummary(seen.sent, seen.lost, shown, sent_before=before.sent, lost_before=before.lost, late=late, alone=alone)
