"""When the probe had to ask, when the first thing was touched, and since when the new release serves alone: read from the journal of a rollout.

Invariant: pure; what the probe recorded has no say in how long it should have recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from manor.observe.window import Window
from manor.operations.step import adapter
from manor.rollout.framing import Bake, SetMaintenance, StartProbe, StopProbe
from manor.rollout.moving import AdmitSlot, DrainSlot, WithholdSlots
from manor.rollout.slots import PlaceRelease, StartSlot
from manor.rollout.stopping import StopSlot
from manor.state.journal import JournalRow, StepRow
from manor.state.operations import Pause
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
    idle: tuple[Window, ...] = ()
    """In which nothing had to be asked, in order: pauses, and a bake that nobody watched to its end and that began anew afterwards."""

    @property
    def parts(self) -> tuple[Window, ...]:
        """The times in which it had to ask; what was idle before its beginning or after its end is none of them."""
        idle = [Window(max(each.begin, self.window.begin), min(each.end, self.window.end)) for each in self.idle]
        within = [each for each in idle if each.begin < each.end]
        begins, ends = [self.window.begin, *(each.end for each in within)], [*(each.begin for each in within), self.window.end]
        return tuple(Window(begin, end) for begin, end in zip(begins, ends, strict=True) if begin < end)

    def may_lack(self, begin: float, end: float) -> bool:
        """Tell whether nothing had to be asked from one moment to another."""
        return end <= self.window.begin or any(each.begin <= begin and end <= each.end for each in self.idle)


def probe_span(rows: Sequence[StepRow], history: Sequence[JournalRow], until: float, pauses: Iterable[Pause] = ()) -> ProbeSpan | None:
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
    idle = merged([*unwatched(rows, begun, end), *(Window(pause.began, next_intent(history, pause.ended)) for pause in pauses)])
    return ProbeSpan(Window(min(begin, end), end), touched_at, alone_since(rows, end), later, idle)


def alone_since(rows: Sequence[StepRow], end: float) -> float | None:
    """Return when the last slot was admitted or emptied, if all were and nothing was taken back until the end."""
    handed = [row for row in rows if row.kind in HANDS_OVER and row.plan == 0]
    is_back = any(row.plan and row.intent_at is not None and row.intent_at < end for row in rows)
    if is_back or any(row.outcome is not Outcome.OK for row in handed):
        return None
    return max((row.done_at for row in handed if row.done_at is not None), default=None)


def unwatched(rows: Sequence[StepRow], begun: Mapping[int, float], end: float) -> list[Window]:
    """Return from when a bake was not watched to its end until the one that counts had begun: so long before it was done. None if it did not begin anew."""
    bake = next((row for row in rows if row.kind == Bake.kind and row.attempt > 1 and row.seq in begun), None)
    if bake is None:
        return []
    over = end if bake.done_at is None else bake.done_at
    watched = adapter(Bake).validate_json(bake.payload).seconds if bake.outcome is Outcome.OK else 0.0
    return [Window(begun[bake.seq], max(begun[bake.seq], over - watched))]


def next_intent(history: Iterable[JournalRow], since: float) -> float:
    """Return when something was about to be done after a pause was over: whoever goes on has the probe ask first."""
    return min((line.at for line in history if line.event is JournalEvent.INTENT and line.at >= since), default=since)


def merged(windows: Iterable[Window]) -> tuple[Window, ...]:
    """Return the same times in order, each once."""
    found: list[Window] = []
    for each in sorted(windows):
        if found and each.begin <= found[-1].end:
            found[-1] = Window(found[-1].begin, max(found[-1].end, each.end))
        else:
            found.append(each)
    return tuple(found)


def first_intents(history: Iterable[JournalRow]) -> Mapping[int, float]:
    """Return when each step was first about to be done, by seq."""
    found: dict[int, float] = {}
    for line in history:
        if line.event is JournalEvent.INTENT:
            found.setdefault(line.seq, line.at)
    return found
