"""Outcomes of a window → what the receipt's first column says.

Invariant: pure; a request belongs to the window in which it was due.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from manor.observe.probe.model import Lane, Loss, Outcome, ProbeConfig
from manor.observe.window import Window


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
    """Against the window of the same length before; None if nothing was answered in it."""
    lateness_p99: float
    """How late the probe itself was in sending, seconds."""


def summarize(outcomes: Iterable[Outcome], config: ProbeConfig, window: Window) -> ProbeResult:
    """Return what was seen in a window, beside the window of the same length before."""
    everything = list(outcomes)
    inside = [each for each in everything if window.holds(each.due)]
    latency = latency_of(inside)
    before = latency_of(each for each in everything if window.before().holds(each.due))
    losses = tuple(sorted((loss_of(each, config) for each in inside if each.kind), key=lambda loss: loss.due))
    return ProbeResult(
        sent=len(inside),
        lost=len(losses),
        new_connections=sum(each.lane is Lane.NEW for each in inside),
        losses=losses,
        latency=latency,
        added=None if math.isnan(before.p50) or math.isnan(latency.p50) else latency.added_to(before),
        lateness_p99=quantile(sorted(each.sent - each.due for each in inside), 0.99),
    )


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
