"""What is done first when a rollout is gone on with that was paused, or whose executor died (docs/receipt.md, the probe).

Invariant: nothing of the rollout itself: what it comes to is judged by what the probe saw.
"""

from __future__ import annotations

from collections.abc import Callable

from manor.errors import FencedOff, ManorError
from manor.operations.step import Here
from manor.rollout.fleet import Fleet
from manor.rollout.framing import StartProbe, StopProbe
from manor.state import journal
from manor.state.operations import Operation
from manor.state.store import Store
from manor.state.words import Outcome


async def have_it_probed(store: Store, service: str, operation: Operation, ports: Fleet, say: Callable[[str], None]) -> None:
    """Have the probe ask where it had begun to and was not told to end: it may have ended meanwhile. Raises FencedOff.

    That it can't be begun again is said: the rollout goes on, and is not certified by what was not measured.
    """
    rows = await store.read(journal.steps, operation.id)
    begun = next((row for row in rows if row.kind == StartProbe.kind and row.outcome is Outcome.OK), None)
    if begun is None or any(row.kind == StopProbe.kind and row.intent_at is not None for row in rows):
        return
    here = Here(operation.id, begun.seq, f"{operation.id}/{begun.key}", operation.token, begun.attempt, operation.deadline or ports.now(), say)
    try:
        await ports.start_probe(service, here)
    except FencedOff:
        raise
    except ManorError as error:
        say(f"{service}: the probe could not be had to ask again: {error}")
