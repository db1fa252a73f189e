"""The probe of the model: it sees every request of the world until its time is up, and what it says is cut up as the journal has it."""

from __future__ import annotations

import itertools
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from manor.observe.probe.model import Lane, Outcome, ProbeConfig, Target
from manor.observe.probe.results import Break, Recording
from manor.rollout.fleet import ProbeSummary
from manor.rollout.losses import Count, SoFar
from manor.rollout.receipt import probe_gaps
from manor.rollout.spans import ProbeSpan
from manor.workflows.probing import LONGEST_SECONDS
from tests.rollout.balancers import Loss

SHOWN = 3
CONFIG = ProbeConfig(targets=(Target(name="GET /", address="127.0.0.1", port=443, host="echo.test", rate=10.0),))
"""It asks once a tick."""


@dataclass(frozen=True)
class Asked:
    """One process of the probe."""

    begin: float
    deadline: float
    is_stopped: bool = False


class ModelProbe:
    """Counts what has ended by each tick."""

    def __init__(self) -> None:
        self.runs: list[Asked] = []
        self.at, self.sent, self.lost = array("d"), array("q"), array("q")
        self.silent_until = 0.0
        """It does not come to asking before."""

    @property
    def is_asking(self) -> bool:
        """Somebody began it and nobody has ended it; that its time is up is no end in order for whoever counts on it."""
        return bool(self.runs) and not self.runs[-1].is_stopped

    def start(self, now: float, total: float) -> None:
        """Begin to ask; one that asks goes on if it lasts for as long as its rollout may, else another one follows."""
        if not self.runs or now >= self.runs[-1].deadline or self.runs[-1].deadline < total:
            self.kill(now)
            self.runs.append(Asked(now, max(now, total) + LONGEST_SECONDS))

    def kill(self, now: float) -> None:
        """End what asks now, without the knowledge of anybody."""
        if self.runs:
            self.runs[-1] = replace(self.runs[-1], deadline=min(now, self.runs[-1].deadline))

    def see(self, now: float, answered: int, lost: int) -> None:
        """Note how many requests have ended by now."""
        if self.is_asking and self.silent_until <= now <= self.runs[-1].deadline:
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

    def recording(self) -> Recording:
        """Return when it asked, in the real one's shape: a request a tick, whatever became of it."""
        asked = tuple(Outcome(0, Lane.NEW, at, at, at, 200, None) for at in dict.fromkeys(self.at))
        breaks = tuple(Break(one.deadline, other.begin, 0) for one, other in itertools.pairwise(self.runs))
        return Recording(CONFIG, asked, unsent=0, in_flight=0, ended=True, last_seen=self.runs[-1].deadline, breaks=breaks)

    def stop(self, now: float, span: ProbeSpan, losses: Sequence[Loss]) -> ProbeSummary:
        """End it and say what it saw."""
        if self.is_asking:
            self.runs[-1] = Asked(self.runs[-1].begin, min(self.runs[-1].deadline, now), is_stopped=True)
        gap = "; ".join(probe_gaps(self.recording(), span))
        seen, begin = self.since(0.0), self.at[0] if self.at else 0.0
        touched = span.touched_at if span.touched_at is not None else begin
        before, late = self.until(touched), self.since((begin + touched) / 2, touched)
        alone = self.since(span.alone_at) if span.alone_at is not None else Count()
        shown = tuple(loss.why for loss in losses if loss.at >= touched)[:SHOWN]
        return ProbeSummary(seen.sent, seen.lost, shown, gap, sent_before=before.sent, lost_before=before.lost, late=late, alone=alone)
