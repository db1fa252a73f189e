"""A run's log, step by step, while it grows; from any process that can open the store.

Invariant: reads only; a follower that stops changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from manor.execution.local import in_thread
from manor.execution.reading import tail
from manor.execution.values import HostPath
from manor.state import runs
from manor.state.store import Store
from manor.state.words import RunState

OPEN = frozenset({RunState.WAITING, RunState.RUNNING})
LOOK_SECONDS = 0.1
PIECE_BYTES = 64 * 1024


@dataclass(frozen=True)
class LogChunk:
    """What an attempt at a step has written since the last chunk."""

    step: str
    attempt: int
    content: bytes


async def follow_log(store: Store, run: str) -> AsyncIterator[LogChunk]:
    """Yield what the run's steps have written and write, until the run has ended. Chunks of parallel steps alternate."""
    offsets: dict[tuple[str, int], int] = {}
    folder = store.folder.runs / run
    is_over = False
    while not is_over:
        is_over = (await store.read(runs.get, run)).state not in OPEN
        for row in await store.read(runs.steps, run):
            place = (row.name, row.attempt)
            while row.log and (piece := await _piece(folder / row.log, offsets.get(place, 0))):
                offsets[place] = offsets.get(place, 0) + len(piece)
                yield LogChunk(row.name, row.attempt, piece)
        if not is_over:
            await store.clock.sleep(LOOK_SECONDS)


async def _piece(path: Path, offset: int) -> bytes:
    return await in_thread(lambda: tail(HostPath(path), offset, PIECE_BYTES))
