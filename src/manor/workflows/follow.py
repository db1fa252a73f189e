"""A run as lines of text while it goes on: what a pusher, a page or `manor run` sees.

Invariant: reads only; whoever stops following changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable

from manor.pipeline.log import OPEN, LogChunk, follow_log
from manor.state import journal, operations, runs
from manor.state.journal import JournalRow, StepRow
from manor.state.runs import Run, RunStep
from manor.state.store import Store
from manor.state.words import OperationState, RunState
from manor.workflows.tidying import removals

LOOK_SECONDS = 0.2


class Lines:
    """Makes lines out of the pieces that steps write, with a heading whenever another step speaks."""

    def __init__(self) -> None:
        """Begin with nothing said."""
        self._speaker: tuple[str, int] | None = None
        self._rest: dict[tuple[str, int], bytes] = {}

    def told(self, chunk: LogChunk) -> list[str]:
        """Return the lines that are whole now."""
        key = (chunk.step, chunk.attempt)
        *whole, self._rest[key] = (self._rest.get(key, b"") + chunk.content).split(b"\n")
        return self._as_said_by(key, whole)

    def rest(self) -> list[str]:
        """Return the last lines of those that ended without an end of line."""
        return [line for key, text in self._rest.items() if text for line in self._as_said_by(key, [text])]

    def _as_said_by(self, key: tuple[str, int], lines: Iterable[bytes]) -> list[str]:
        texts = [line.decode("utf-8", "replace").rstrip("\r") for line in lines]
        if not texts or key == self._speaker:
            return texts
        self._speaker = key
        return [f"· {key[0]}" + (f", attempt {key[1]}" if key[1] > 1 else ""), *texts]


async def follow_run(store: Store, run: str, *, longest_wait_seconds: float = 20.0) -> AsyncGenerator[str, None]:
    """Yield what a run's steps write until it ends, then how each and all ended; if nobody begins it in time, say so and leave it to the queue."""
    if not await is_begun(store, run, longest_wait_seconds):
        yield f"run {run} waits for its turn; it goes on without you, see `manor run {run}`"
        return
    lines = Lines()
    async for chunk in follow_log(store, run):
        for line in lines.told(chunk):
            yield line
    for line in lines.rest():
        yield line
    for step in await store.read(runs.steps, run):
        yield ending(step)
    for line in await store.read(removals, f"run/{run}"):
        yield f"· retention: {line}"
    yield verdict(await store.read(runs.get, run))


async def is_begun(store: Store, run: str, longest_wait_seconds: float) -> bool:
    """Wait until somebody has begun a run, and tell whether that came in time."""
    end = store.clock.now() + longest_wait_seconds
    while (await store.read(runs.get, run)).state is RunState.WAITING:
        if store.clock.now() >= end:
            return False
        await store.clock.sleep(LOOK_SECONDS)
    return True


async def follow_operation(store: Store, operation: str) -> AsyncGenerator[str, None]:
    """Yield the journal of an operation as JSON, one event a line, until nobody carries it out any more."""
    told = 0
    while True:
        now = await store.read(operations.get, operation)
        steps = {step.seq: step for step in await store.read(journal.steps, operation)}
        rows = await store.read(journal.history, operation)
        for row in rows[told:]:
            yield event_line(row, steps.get(row.seq))
        told = len(rows)
        if now.state.is_final or now.state is OperationState.PAUSED:
            yield json.dumps({"event": "ended", "at": now.ended_at, "state": now.state, "detail": now.summary})
            return
        await store.clock.sleep(LOOK_SECONDS)


def event_line(row: JournalRow, step: StepRow | None) -> str:
    """Return one entry of a journal as JSON, with what its step is."""
    about = {"host": step.host, "kind": step.kind, "text": step.text} if step else {}
    return json.dumps({"event": row.event, "at": row.at, "seq": row.seq, "attempt": row.attempt, **about, "detail": row.detail})


def ending(step: RunStep) -> str:
    """Return how an attempt at a step ended, in one line."""
    return f"· {step.name}: {step.state}{took(step.started_at, step.ended_at)}"


def verdict(run: Run) -> str:
    """Return how a run ended, in one line."""
    word = "is under way" if run.state in OPEN else str(run.state)
    return f"run {run.id}: {word}{took(run.started_at, run.ended_at)}" + (f" · {run.summary}" if run.summary else "")


def took(started_at: float | None, ended_at: float | None) -> str:
    """Return ` in 3.2 s`, or nothing if that is not known."""
    return f" in {ended_at - started_at:.1f} s" if started_at is not None and ended_at is not None else ""
