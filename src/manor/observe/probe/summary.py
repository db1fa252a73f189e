"""Outcomes of a window → what the receipt's first column says.

Invariant: pure; a request belongs to the window in which it was due, and is compared only with what was measured before.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from manor.observe.probe.model import Lane, Loss, LossKind, Outcome, ProbeConfig
from manor.observe.window import Window

GOOD = 3
"""Class of a status below 400."""
LEAST_COMPARED = 10
"""So many answers are needed in a baseline before anything is compared with it."""


@dataclass(frozen=True)
class Latency:
    """Seconds from the due time to the last byte, of the requests that were answered; nan where there was none."""

    p50: float
    p95: float
    p99: float
    longest: float

    def added_to(self, before: Latency) -> Latency:
        """Return by how much each is longer than before."""
        return Latency(self.p50 - before.p50, self.p95 - before.p95, self.p99 - before.p99, self.longest - before.longest)


@dataclass(frozen=True)
class Outage:
    """A stretch without an answer, as the probe measured it."""

    begin: float
    seconds: float


@dataclass(frozen=True)
class ProbeResult:
    """What the probe saw in a window."""

    sent: int
    lost: int
    new_connections: int
    losses: tuple[Loss, ...]
    latency: Latency
    added: Latency | None
    """By how much what was due after the baseline took longer; None without a baseline, or if too little was answered in it."""
    compared_with: int
    """Requests that were answered in the baseline."""
    lateness_p99: float
    """How late the probe itself was in sending, seconds."""


def summarize(outcomes: Iterable[Outcome], config: ProbeConfig, window: Window, baseline: Window | None = None) -> ProbeResult:
    """Return what was seen in a window; latency also against a baseline, which may be the window's beginning."""
    everything = list(outcomes)
    inside = [each for each in everything if window.holds(each.due)]
    losses = tuple(sorted((loss_of(each, config) for each in inside if each.kind), key=lambda loss: loss.due))
    before = [each for each in everything if baseline and baseline.holds(each.due) and each.kind is None]
    return ProbeResult(
        sent=len(inside),
        lost=len(losses),
        new_connections=sum(each.lane is Lane.NEW for each in inside),
        losses=losses,
        latency=latency_of(inside),
        added=added_latency(before, [each for each in inside if baseline and each.due >= baseline.end and each.kind is None]),
        compared_with=len(before),
        lateness_p99=quantile(sorted(each.sent - each.due for each in inside), 0.99),
    )


def added_latency(before: Sequence[Outcome], after: Sequence[Outcome]) -> Latency | None:
    """Return by how much answers took longer; None if too few were there to compare with."""
    return latency_of(after).added_to(latency_of(before)) if len(before) >= LEAST_COMPARED and after else None


def judged(outcomes: Iterable[Outcome], config: ProbeConfig, baseline: Window | None) -> tuple[Outcome, ...]:
    """Return the outcomes with those as lost whose class of status a target that states none had not answered before.

    Below 400 is one class and always good. Without a baseline nothing else is.
    """
    everything = tuple(outcomes)
    before = {(each.target, status_class(each.status)) for each in everything if baseline and baseline.holds(each.due) and each.kind is None}

    def is_new(each: Outcome) -> bool:
        kind = status_class(each.status)
        return each.kind is None and config.targets[each.target].follows_baseline and kind > GOOD and (each.target, kind) not in before

    return tuple(each._replace(kind=LossKind.BAD_STATUS) if is_new(each) else each for each in everything)


def status_class(status: int) -> int:
    """Return the first digit of a status, one for all below 400."""
    return max(status // 100, GOOD)


def measured_outage(outcomes: Iterable[Outcome], window: Window) -> Outage | None:
    """Return the longest stretch in which nothing was answered as expected; None if nothing was lost.

    It lasts from the first loss to the next request that was answered, so it is exact to one request of the probe.
    """
    inside = sorted((each for each in outcomes if window.holds(each.due)), key=lambda each: each.due)
    longest: Outage | None = None
    began: float | None = None
    for each in [*inside, None]:
        if each is not None and each.kind:
            began = each.due if began is None else began
        elif began is not None:
            end = each.due if each is not None else window.end
            longest = longer(longest, Outage(began, end - began))
            began = None
    return longest


def longer(known: Outage | None, other: Outage) -> Outage:
    """Return the longer of two."""
    return other if known is None or other.seconds > known.seconds else known


def latency_of(outcomes: Iterable[Outcome]) -> Latency:
    """Return the quantiles of what was answered."""
    seconds = sorted(each.seconds for each in outcomes if each.kind is None)
    return Latency(quantile(seconds, 0.5), quantile(seconds, 0.95), quantile(seconds, 0.99), quantile(seconds, 1.0))


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share is at or below; nan of nothing."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def loss_of(outcome: Outcome, config: ProbeConfig) -> Loss:
    """Return a lost outcome with its target's name."""
    assert outcome.kind is not None  # noqa: S101 - asked for lost ones only
    return Loss(config.targets[outcome.target].name, outcome.lane, outcome.due, outcome.seconds, outcome.status, outcome.kind)
