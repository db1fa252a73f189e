"""A run's log as it grows: what a pusher, a page or `manor run` sees.

Invariant: reads only; whoever stops following changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from manor.state import runs
from manor.state.runs import Run, RunStep
from manor.state.store import Store
from manor.state.words import RunState

OPEN = frozenset({RunState.WAITING, RunState.RUNNING})
LOOK_SECONDS = 0.2
PIECE_BYTES = 64 * 1024


@dataclass
class Position:
    """How much of a run was told already."""

    said: dict[tuple[str, int], RunState] = field(default_factory=dict)
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)


async def follow_run(store: Store, run: str, *, longest_wait_seconds: float = 20.0) -> AsyncGenerator[str, None]:
    """Yield what happens to a run until it ends; if nobody begins it within the wait, say so and leave it to the queue."""
    position, began = Position(), store.clock.now()
    while True:
        now_run, steps = await store.read(runs.get, run), await store.read(runs.steps, run)
        for line in news(steps, position, store.folder.runs / run, is_over=now_run.state not in OPEN):
            yield line
        if now_run.state not in OPEN:
            yield verdict(now_run)
            return
        if now_run.state is RunState.WAITING and store.clock.now() - began > longest_wait_seconds:
            yield f"run {run} waits for its turn; it goes on without you, see `manor run {run}`"
            return
        await store.clock.sleep(LOOK_SECONDS)


def news(steps: Iterable[RunStep], position: Position, folder: Path, *, is_over: bool) -> list[str]:
    """Return the lines that are new since `position`, and move it."""
    lines: list[str] = []
    for step in steps:
        key = (step.name, step.attempt)
        if position.said.get(key) is None and step.state is not RunState.WAITING:
            lines.append(f"· {step.name}")
        lines += grown(folder / step.log, key, position, is_over=is_over or step.state not in OPEN) if step.log else []
        if position.said.get(key) is not step.state and step.state not in OPEN:
            lines.append(f"· {step.name}: {step.state}{took(step.started_at, step.ended_at)}")
        position.said[key] = step.state
    return lines


def grown(file: Path, key: tuple[str, int], position: Position, *, is_over: bool) -> list[str]:
    """Return the whole lines that a log has grown by; with `is_over` a last line without its end too."""
    offset = position.offsets.get(key, 0)
    lines: list[str] = []
    if not file.is_file():
        return lines
    with file.open("rb") as log:
        log.seek(offset)
        while piece := log.read(PIECE_BYTES):
            whole = piece if is_over and len(piece) < PIECE_BYTES else piece[: piece.rfind(b"\n") + 1] or (piece if len(piece) == PIECE_BYTES else b"")
            lines += whole.decode("utf-8", "replace").splitlines()
            offset += len(whole)
            log.seek(offset)
            if len(whole) < len(piece) or not whole:
                break
    position.offsets[key] = offset
    return lines


def verdict(run: Run) -> str:
    """Return how a run ended, in one line."""
    return f"run {run.id}: {run.state}{took(run.started_at, run.ended_at)}" + (f" · {run.summary}" if run.summary else "")


def took(started_at: float | None, ended_at: float | None) -> str:
    """Return ` in 3.2 s`, or nothing if that is not known."""
    return f" in {ended_at - started_at:.1f} s" if started_at is not None and ended_at is not None else ""
