"""When a rollout last got on, from its journal: what its progress deadline counts from.

Invariant: pure; the moments are those in the journal, so a crash neither lengthens nor shortens a deadline. A pause does not count.
"""

from __future__ import annotations

from collections.abc import Iterable

from manor.rollout.moving import DrainSlot
from manor.rollout.slots import WarmSlot
from manor.state.journal import StepRow
from manor.state.operations import Pause
from manor.state.words import Outcome

KINDS = frozenset({WarmSlot.kind, DrainSlot.kind})


def last_progress(steps: Iterable[StepRow], began: float, pauses: Iterable[Pause] = ()) -> float:
    """Return when an instance last became healthy or an old one was emptied, else when the operation began; later by what it was paused since."""
    done = [step.done_at for step in steps if step.kind in KINDS and step.outcome is Outcome.OK and step.done_at is not None]
    last = max(done, default=began)
    return last + sum(pause.seconds for pause in pauses if pause.began >= last)
