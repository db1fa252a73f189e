"""When the probe had to ask, and when the first thing was moved: read from the journal of a rollout.

Invariant: pure; what the probe recorded has no say in how long it should have recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from manor.observe.window import Window
from manor.rollout.framing import SetMaintenance, StartProbe, StopProbe
from manor.rollout.moving import AdmitSlot, DrainSlot, WithholdSlots
from manor.rollout.stopping import StopSlot
from manor.state.journal import JournalRow, StepRow
from manor.state.words import JournalEvent

MOVES = frozenset({AdmitSlot.kind, DrainSlot.kind, WithholdSlots.kind, SetMaintenance.kind, StopSlot.kind})


@dataclass(frozen=True)
class ProbeSpan:
    """What a whole recording covers."""

    window: Window
    """From the moment at which the probe was known to ask to the one at which it was told to end."""
    moved_at: float | None = None
    """When the first act on traffic after its beginning was about to begin; None: there was none."""
    was_moved_later: bool = False
    """Traffic was moved after its end too."""


def probe_span(rows: Sequence[StepRow], history: Iterable[JournalRow], until: float) -> ProbeSpan | None:
    """Return what the probe of a rollout had to cover, at the latest `until`; None: it was never begun.

    A step that was begun again after a crash counts from its first intent.
    """
    begun = first_intents(history)
    start = next((row for row in rows if row.kind == StartProbe.kind and row.seq in begun), None)
    if start is None:
        return None
    begin = start.done_at or begun[start.seq]
    ends = [begun[row.seq] for row in rows if row.kind == StopProbe.kind and row.seq in begun]
    moves = [begun[row.seq] for row in rows if row.kind in MOVES and row.seq in begun and begun[row.seq] >= begun[start.seq]]
    end = min((*ends, until))
    return ProbeSpan(Window(min(begin, end), end), min(moves, default=None), any(move > end for move in moves))


def first_intents(history: Iterable[JournalRow]) -> Mapping[int, float]:
    """Return when each step was first about to be done, by seq."""
    found: dict[int, float] = {}
    for line in history:
        if line.event is JournalEvent.INTENT:
            found.setdefault(line.seq, line.at)
    return found
