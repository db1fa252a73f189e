"""Runs of pipelines as a person looks at them."""

from __future__ import annotations

from manor.errors import UsageError
from manor.pipeline.results import result_of
from manor.state import runs
from manor.state.runs import Run, RunStep
from manor.state.store import Connection
from manor.workflows.context import Context
from manor.workflows.tidying import removals


async def recent_runs(context: Context, repository: str, limit: int) -> tuple[Run, ...]:
    """Return runs, newest first."""
    return await context.store.read(runs.recent, repository or None, (), limit)


async def find_run(context: Context, named: str) -> Run:
    """Return the run that a person means: by its id or the beginning of it, or a repository's last. Raises UsageError."""
    return await context.store.read(find, named)


def find(connection: Connection, named: str) -> Run:
    """Return the run of an id, of its beginning, or the last one of a repository. Raises UsageError."""
    every = runs.recent(connection, limit=10_000)
    exact = [run for run in every if run.id == named] or [run for run in every if run.repository == named][:1]
    found = exact or [run for run in every if named and run.id.startswith(named)]
    if len(found) == 1:
        return found[0]
    raise UsageError(f"there {'are several runs' if found else 'is no run'} {named!r}; `manor run list` lists them")


async def steps_of(context: Context, run: str) -> tuple[tuple[RunStep, str], ...]:
    """Return the steps of a run, each with its one line of result."""
    return tuple((step, result_of(step).summary) for step in await context.store.read(runs.steps, run))


async def removed_of(context: Context, run: str) -> tuple[str, ...]:
    """Return which files of a run were removed because they were old, a line each."""
    return await context.store.read(removals, f"run/{run}")
