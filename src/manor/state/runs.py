"""Pipeline runs, their steps, and the ledger of refs.

Invariant: a ref's new commit and its run are written in one transaction, so no acknowledged push is without its run.
Invariant: one run for each repository, ref and commit, however often it is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from manor.errors import UsageError
from manor.state import rows, tables
from manor.state.operations import new_id
from manor.state.words import RunState

AT_ONCE = 1000
"""So many ids stand in one statement."""


@dataclass(frozen=True)
class Run:
    """One execution of a pipeline."""

    id: str
    repository: str
    ref: str
    commit: str
    actor: str
    state: RunState
    summary: str
    artifact: str
    deadline: float | None
    created_at: float
    started_at: float | None
    ended_at: float | None


@dataclass(frozen=True)
class RunStep:
    """One attempt at one step of a run. `key` = hash(step, inputs, artifacts); `result` is JSON."""

    run: str
    name: str
    attempt: int
    place: int
    key: str
    state: RunState
    deadline: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    code: int | None = None
    log: str = ""
    result: str = "{}"


@dataclass(frozen=True)
class Ref:
    """The last commit of a ref that was seen, and its run (empty where the ref starts none)."""

    repository: str
    ref: str
    commit: str
    run: str
    seen_at: float


STEPS = tables.run_steps
FORGET_STEP = STEPS.delete().where(
    (STEPS.c.run == sa.bindparam("of_run")) & (STEPS.c.name == sa.bindparam("of_name")) & (STEPS.c.attempt == sa.bindparam("of_attempt"))
)
ADD_STEP = STEPS.insert()
PASSED_BEFORE = sa.select(STEPS).where((STEPS.c.key == sa.bindparam("of_key")) & (STEPS.c.state == RunState.PASSED)).order_by(STEPS.c.ended_at.desc()).limit(1)


def record_tip(connection: sa.Connection, repository: str, ref: str, commit: str, actor: str, *, at: float, starts_run: bool = True) -> Run | None:
    """Write a ref's commit into the ledger, with its run; return the run, the one that is there if commit and ref were seen before."""
    run = (find_run(connection, repository, ref, commit) or add_run(connection, repository, ref, commit, actor, at)) if starts_run else None
    forget_ref(connection, repository, ref)
    connection.execute(tables.refs.insert().values(repository=repository, ref=ref, commit=commit, run=run.id if run else "", seen_at=at))
    return run


def forget_ref(connection: sa.Connection, repository: str, ref: str) -> None:
    """Take a deleted ref out of the ledger; its runs stay."""
    connection.execute(tables.refs.delete().where((tables.refs.c.repository == repository) & (tables.refs.c.ref == ref)))


def ledger(connection: sa.Connection, repository: str) -> tuple[Ref, ...]:
    """Return what was seen of a repository, by ref."""
    return rows.all_of(connection, sa.select(tables.refs).where(tables.refs.c.repository == repository).order_by(tables.refs.c.ref), Ref)


def add_run(connection: sa.Connection, repository: str, ref: str, commit: str, actor: str, at: float) -> Run:
    """Write a waiting run."""
    identifier = new_id(at)
    values = {"id": identifier, "repository": repository, "ref": ref, "commit": commit, "actor": actor, "state": RunState.WAITING, "created_at": at}
    connection.execute(tables.runs.insert().values(**values))
    return get(connection, identifier)


def find_run(connection: sa.Connection, repository: str, ref: str, commit: str) -> Run | None:
    """Return the run of a ref at a commit, or None."""
    table = tables.runs
    return rows.first_of(connection, sa.select(table).where((table.c.repository == repository) & (table.c.ref == ref) & (table.c.commit == commit)), Run)


def get(connection: sa.Connection, identifier: str) -> Run:
    """Return a run. Raises UsageError if there is none."""
    found = rows.first_of(connection, sa.select(tables.runs).where(tables.runs.c.id == identifier), Run)
    if found is None:
        raise UsageError(f"there is no run {identifier!r}; `manor run` lists them")
    return found


def recent(connection: sa.Connection, repository: str | None = None, states: Sequence[RunState] = (), limit: int = 50) -> tuple[Run, ...]:
    """Return runs, newest first, of a repository, in certain states."""
    query = sa.select(tables.runs).order_by(tables.runs.c.created_at.desc(), tables.runs.c.id.desc()).limit(limit)
    if repository is not None:
        query = query.where(tables.runs.c.repository == repository)
    if states:
        query = query.where(tables.runs.c.state.in_(states))
    return rows.all_of(connection, query, Run)


def of_ids(connection: sa.Connection, identifiers: Sequence[str]) -> tuple[Run, ...]:
    """Return the runs of these ids, newest first; an id that none has is passed over."""
    table, found = tables.runs, list[Run]()
    for first in range(0, len(identifiers), AT_ONCE):
        found += rows.all_of(connection, sa.select(table).where(table.c.id.in_(identifiers[first : first + AT_ONCE])), Run)
    return tuple(sorted(found, key=lambda run: (run.created_at, run.id), reverse=True))


def set_run(
    connection: sa.Connection, identifier: str, state: RunState, *, at: float, summary: str = "", artifact: str | None = None, deadline: float | None = None
) -> Run:
    """Write how a run stands; begun with the first RUNNING, ended with any state but WAITING and RUNNING. `artifact`, `deadline`: None keeps them."""
    values: dict[str, object] = {"state": state, "summary": summary}
    if state is RunState.RUNNING:
        values |= {"started_at": get(connection, identifier).started_at or at}
    values |= {"ended_at": None if state in (RunState.WAITING, RunState.RUNNING) else at}
    values |= {name: value for name, value in (("artifact", artifact), ("deadline", deadline)) if value is not None}
    connection.execute(tables.runs.update().where(tables.runs.c.id == identifier).values(**values))
    return get(connection, identifier)


def reopen(connection: sa.Connection, identifier: str) -> Run:
    """Make a run wait again, as if it had not begun; its steps stay."""
    values = {"state": RunState.WAITING, "summary": "", "artifact": "", "deadline": None, "started_at": None, "ended_at": None}
    connection.execute(tables.runs.update().where(tables.runs.c.id == identifier).values(**values))
    return get(connection, identifier)


def open_runs(connection: sa.Connection) -> tuple[Run, ...]:
    """Return every run that somebody has to see to, oldest first: waiting, running, or ended with a step still running."""
    table, parts = tables.runs, tables.run_steps
    left = sa.select(parts.c.run).where(parts.c.state == RunState.RUNNING)
    wanted = table.c.state.in_([RunState.WAITING, RunState.RUNNING]) | table.c.id.in_(left)
    return rows.all_of(connection, sa.select(table).where(wanted).order_by(table.c.created_at, table.c.id), Run)


def put_step(connection: sa.Connection, step: RunStep) -> None:
    """Write an attempt at a step as it stands now."""
    connection.execute(FORGET_STEP, {"of_run": step.run, "of_name": step.name, "of_attempt": step.attempt})
    connection.execute(ADD_STEP, vars(step))


def steps(connection: sa.Connection, run: str) -> tuple[RunStep, ...]:
    """Return all attempts at the steps of a run, by place and attempt."""
    table = tables.run_steps
    query = sa.select(table).where(table.c.run == run).order_by(table.c.place, table.c.name, table.c.attempt)
    return rows.all_of(connection, query, RunStep)


def logs_elsewhere(connection: sa.Connection) -> tuple[tuple[str, str], ...]:
    """Return the run and the log of each step that was not done again: its log is in the folder of the run that did it."""
    table = tables.run_steps
    found = connection.execute(sa.select(table.c.run, table.c.log).where(table.c.log.startswith("../")))
    return tuple((row.run, row.log) for row in found)


def passed_before(connection: sa.Connection, key: str) -> RunStep | None:
    """Return the last step that passed with this content key: its result stands, nothing has to be done again."""
    return rows.first_of(connection, PASSED_BEFORE, RunStep, of_key=key)
