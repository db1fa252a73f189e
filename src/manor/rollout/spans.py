"""When the probe had to ask, when the first thing was touched, and since when the new release serves alone: read from the journal of a rollout.

Invariant: pure; what the probe recorded has no say in how long it should have recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from manor.observe.window import Window
from manor.rollout.framing import SetMaintenance, StartProbe, StopProbe
from manor.rollout.moving import AdmitSlot, DrainSlot, WithholdSlots
from manor.rollout.slots import PlaceRelease, StartSlot
from manor.rollout.stopping import StopSlot
from manor.state.journal import JournalRow, StepRow
from manor.state.words import JournalEvent, Outcome

MOVES = frozenset({AdmitSlot.kind, DrainSlot.kind, WithholdSlots.kind, SetMaintenance.kind, StopSlot.kind})
TOUCHES = MOVES | {PlaceRelease.kind, StartSlot.kind}
"""What may cost requests: a new program takes memory, files and connections from the old one before it has traffic."""
HANDS_OVER = frozenset({AdmitSlot.kind, DrainSlot.kind})


@dataclass(frozen=True)
class ProbeSpan:
    """What a whole recording covers."""

    window: Window
    """From the moment at which the probe was known to ask to the one at which it was told to end."""
    touched_at: float | None = None
    """When the first act on a host was about to begin; None: there was none after its beginning, or one before it."""
    alone_at: float | None = None
    """When the last slot was admitted or emptied; None: it did not come to that, or the way back began before the probe ended."""
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
    end = min((*ends, until))
    first = min((begun[row.seq] for row in rows if row.kind in TOUCHES and row.seq in begun), default=None)
    touched_at = first if first is not None and first >= begun[start.seq] else None
    later = any(row.kind in MOVES and begun.get(row.seq, end) > end for row in rows)
    return ProbeSpan(Window(min(begin, end), end), touched_at, alone_since(rows, end), later)


def alone_since(rows: Sequence[StepRow], end: float) -> float | None:
    """Return when the last slot was admitted or emptied, if all were and nothing was taken back until the end."""
    handed = [row for row in rows if row.kind in HANDS_OVER and row.plan == 0]
    is_back = any(row.plan and row.intent_at is not None and row.intent_at < end for row in rows)
    if is_back or any(row.outcome is not Outcome.OK for row in handed):
        return None
    return max((row.done_at for row in handed if row.done_at is not None), default=None)


def first_intents(history: Iterable[JournalRow]) -> Mapping[int, float]:
    """Return when each step was first about to be done, by seq."""
    found: dict[int, float] = {}
    for line in history:
        if line.event is JournalEvent.INTENT:
            found.setdefault(line.seq, line.at)
    return found
