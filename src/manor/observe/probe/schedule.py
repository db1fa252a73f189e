"""When each request is due, whatever became of those before.

Invariant: pure; the n-th request of a target is due at start + n / rate, so a slow answer delays none and hides none.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from manor.observe.probe.model import Lane, Target


class Tick(NamedTuple):
    """One request to send."""

    due: float
    target: int
    number: int
    lane: Lane


def target_ticks(target: Target, index: int, start: float) -> Iterator[Tick]:
    """Yield the ticks of one target for ever, first due at `start`."""
    number = 0
    while True:
        yield Tick(start + number / target.rate, index, number, lane_of(number, target.share_new))
        number += 1


def all_ticks(targets: Sequence[Target], start: float) -> Iterator[Tick]:
    """Yield the ticks of all targets, earliest first; targets of one rate are spread over its period."""
    streams = (target_ticks(target, index, start + index / target.rate / len(targets)) for index, target in enumerate(targets))
    return heapq.merge(*streams)


def lane_of(number: int, share_new: float) -> Lane:
    """Return the lane of the n-th request, so that new connections are spread evenly and their share is exact."""
    return Lane.NEW if int((number + 1) * share_new + 1e-9) > int(number * share_new + 1e-9) else Lane.KEPT
