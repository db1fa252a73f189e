"""What people ask of a run: cancel it, do it again.

Invariant: asking only writes rows; whoever executes the run acts on them, also an executor that comes later.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from manor.errors import UsageError
from manor.pipeline.collecting import is_there
from manor.pipeline.definition import load_pipeline
from manor.pipeline.ports import RunFolder
from manor.pipeline.results import Result, last_attempts, result_of
from manor.state import executing, runs
from manor.state.runs import Run, RunStep
from manor.state.store import Connection, Store
from manor.state.words import RunState


async def cancel_run(store: Store, run: str, actor: str) -> Run:
    """Cancel a waiting or running run; its executor ends the steps within a second. Raises UsageError if it has ended."""
    return await store.write(executing.cancel, run, actor, store.clock.now())


async def rerun(store: Store, run: str, actor: str, from_step: str | None = None) -> Run:
    """Make an ended run wait again: from a step on (that and all that need it), or without one whatever did not pass.

    What earlier steps left is used as it is. Raises UsageError if it has not ended, has no such step, or its files or what a step left are gone;
    InvalidEstate if the commit's pipeline is wrong.
    """
    folder = RunFolder(store.folder.runs, run)
    rows = await store.read(runs.steps, run)
    last = last_attempts(rows)
    if last:
        require_files(folder)
    pipeline = load_pipeline(folder.source) if last else None
    last = {name: row for name, row in last.items() if pipeline is not None and name in pipeline.steps}
    if from_step is None:
        chosen = {name for name, row in last.items() if row.state is not RunState.PASSED}
    elif pipeline is not None and from_step in last:
        chosen = {from_step, *pipeline.after(from_step)}
    else:
        raise UsageError(f"run {run} has no step {from_step}; it has: {', '.join(last) or 'none yet'}")
    again = [again_after(row, is_forced=from_step is not None) for name, row in last.items() if name in chosen]
    used = [row for name, row in last.items() if name not in chosen]
    return await store.write(begin_again, folder, used, again, store.folder.artifacts, actor, store.clock.now())


def begin_again(connection: Connection, folder: RunFolder, used: Sequence[RunStep], again: Sequence[RunStep], artifacts: Path, actor: str, at: float) -> Run:
    """Make a run wait again if all that it goes on from is there at this moment: who removes old files does so in a transaction too. Raises UsageError."""
    if used or again:
        require_files(folder)
    for row in used:
        if not is_there(result_of(row), folder.outputs, artifacts):
            told = f"run {folder.run} can't go on from what {row.name} left: that is gone"
            raise UsageError(f"{told}; do it again from there: `manor run again {folder.run} --from {row.name}`")
    return executing.begin_again(connection, folder.run, again, actor, at)


def require_files(folder: RunFolder) -> None:
    """Raise UsageError if the commit's files of a run are gone."""
    if not folder.source.is_dir():
        told = f"run {folder.run} can't be done again: its files are gone, see `manor run {folder.run}`"
        raise UsageError(f"{told}; push a new commit, e.g. by `git commit --allow-empty`")


def again_after(row: RunStep, *, is_forced: bool) -> RunStep:
    """Return the attempt after a step's last one."""
    return RunStep(row.run, row.name, row.attempt + 1, row.place, "", RunState.WAITING, result=Result(forced=is_forced).model_dump_json())
