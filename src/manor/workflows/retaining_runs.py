"""Which files of pipeline runs are kept, and for how long (docs/controller.md, retention).

Invariant: a run that can be done again has its files and what its steps left; a run's rows stay for ever, so no commit becomes a run twice.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from manor.pipeline.ports import RunFolder
from manor.pipeline.results import result_of
from manor.state import releases, runs
from manor.state.executing import lease_name
from manor.state.folder import StateFolder
from manor.state.runs import Run, RunStep
from manor.state.store import Connection, Store
from manor.workflows.tidying import DAY, Due, is_older, remove, when_free

KEPT_TO_REPEAT, KEPT_TO_REPEAT_SECONDS = 10, 14 * DAY
"""So many of a repository, and all that ended so recently, can be done again."""
KEPT_TO_READ, KEPT_TO_READ_SECONDS = 50, 90 * DAY
"""The same for logs."""
ARCHIVE = re.compile(r"[0-9a-f]{64}\.tar")


async def clean_runs(store: Store) -> list[str]:
    """Move aside the files of old runs, branch by branch, and the outputs that none needs; return what was, in words."""
    said, folder = [], store.folder
    found = await store.read(with_files, folder)
    for name in sorted({lease_name(run.repository, run.ref) for run in found}):
        look = partial(due_runs, folder=folder, now=store.clock.now(), lease=name)
        if await store.read(look):
            said += await when_free(store, [name], partial(remove, store, folder.runs, look))
    look = partial(due_outputs, folder=folder, now=store.clock.now())
    return [*said, *(await remove(store, folder.runs, look) if await store.read(look) else ())]


def with_files(connection: Connection, folder: StateFolder) -> tuple[Run, ...]:
    """Return the runs that have a folder, newest first."""
    names = [path.name for path in folder.runs.iterdir() if not path.name.startswith(".")]
    return runs.of_ids(connection, sorted(names))


def repeatable(connection: Connection, folder: StateFolder, now: float) -> tuple[Run, ...]:
    """Return the runs that can be done again, or still go on."""
    found = with_files(connection, folder)
    kept = newest(found, KEPT_TO_REPEAT, now - KEPT_TO_REPEAT_SECONDS) | {run.id for run in runs.open_runs(connection)}
    return tuple(run for run in found if run.id in kept)


def newest(found: Sequence[Run], most: int, since: float) -> set[str]:
    """Return the newest runs of each repository, and those that ended since or have not ended; `found` is newest first."""
    kept, seen = set(), Counter[str]()
    for run in found:
        seen[run.repository] += 1
        if seen[run.repository] <= most or run.ended_at is None or run.ended_at >= since:
            kept.add(run.id)
    return kept


def readable(connection: Connection, folder: StateFolder, now: float, repeated: set[str]) -> set[str]:
    """Return the runs whose logs are kept: also those of a kept artifact, and where the logs lie that a kept run refers to."""
    found = with_files(connection, folder)
    kept = repeated | newest(found, KEPT_TO_READ, now - KEPT_TO_READ_SECONDS)
    held = {artifact.digest: artifact.run for artifact in releases.artifacts(connection) if (folder.artifacts / f"{artifact.digest}.tar").exists()}
    kept |= {run.id for run in found if run.artifact in held} | set(held.values())
    return kept | {log.split("/")[1] for run, log in runs.logs_elsewhere(connection) if run in kept}


def due_runs(connection: Connection, folder: StateFolder, now: float, lease: str) -> list[Due]:
    """Return what is due of the runs of one branch, oldest first."""
    repeated = {run.id for run in repeatable(connection, folder, now)}
    kept = readable(connection, folder, now, repeated)
    found = [run for run in reversed(with_files(connection, folder)) if run.id not in repeated and lease_name(run.repository, run.ref) == lease]
    return [due for run in found if (due := due_of(run, folder, is_read=run.id in kept)).paths]


def due_of(run: Run, folder: StateFolder, *, is_read: bool) -> Due:
    """Return what goes of a run: all its files, or all but its logs."""
    files = RunFolder(folder.runs, run.id)
    if is_read:
        return Due(f"run/{run.id}", f"work folders of run {run.id} of {run.repository}", tuple(work_in(files)))
    return Due(f"run/{run.id}", f"logs of run {run.id} of {run.repository}", (files.path,))


def work_in(files: RunFolder) -> Iterator[Path]:
    """Yield what a run can be done again from, the commit's files first: without them nobody begins."""
    yield from (path for path in (files.source, files.source.with_name(".source.new")) if path.exists())
    for attempt in sorted(files.path.glob("[!.]*/*/")):
        yield from sorted(path for path in attempt.iterdir() if path.name != "log")


def due_outputs(connection: Connection, folder: StateFolder, now: float) -> list[Due]:
    """Return the kept outputs of steps, and inputs that were chosen, that no run needs which can be done again."""
    place = RunFolder(folder.runs, "").outputs
    steps = [step for run in repeatable(connection, folder, now) for step in runs.steps(connection, run.id)]
    needed = {f"{result_of(step).outputs}.tar" for step in steps}
    there = [path for path in sorted(place.glob("*.tar")) if ARCHIVE.fullmatch(path.name) and path.name not in needed]
    due = [path for path in there if is_older(path, now - KEPT_TO_REPEAT_SECONDS)]
    return [Due(f"output/{path.stem}", f"outputs {path.stem[:12]} of a step", (path,)) for path in due]


def artifacts_needed(connection: Connection, folder: StateFolder, now: float) -> set[str]:
    """Return the digests of the artifacts of runs that can be done again."""
    found = repeatable(connection, folder, now)
    steps: list[RunStep] = [step for run in found for step in runs.steps(connection, run.id)]
    return {run.artifact for run in found} | {result_of(step).artifact for step in steps}
