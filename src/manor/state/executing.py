"""Runs as those change them who carry them out, or ask for it.

Invariant: an executor writes only while it holds the lease of the run's ref, checked in the same transaction; a cancelled run stays cancelled.
Functions take a connection within a transaction of `Store.write`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from manor.errors import FencedOff, UsageError
from manor.state import audit, leases, runs
from manor.state.leases import Lease
from manor.state.runs import Run, RunStep
from manor.state.words import RunState

OPEN = (RunState.WAITING, RunState.RUNNING)


def lease_name(repository: str, ref: str) -> str:
    """Return the lease under which runs of a ref are carried out, one at a time; no environment's name has a colon."""
    return f"run:{repository}:{ref}"


def require_lease(connection: sa.Connection, lease: Lease) -> None:
    """Raise FencedOff unless the lease is still held under its token."""
    if not any(held.name == lease.name and held.token == lease.token for held in leases.standing(connection)):
        raise FencedOff(leases.fenced_text(connection, lease.name, lease.token))


def put_step(connection: sa.Connection, lease: Lease, step: RunStep) -> None:
    """Write how an attempt at a step stands. Raises FencedOff."""
    require_lease(connection, lease)
    runs.put_step(connection, step)


def put_step_if(connection: sa.Connection, lease: Lease, step: RunStep, holds: Callable[[], bool]) -> bool:
    """Write it only if something holds at this moment, at which nobody else writes; tell whether. Raises FencedOff."""
    require_lease(connection, lease)
    if is_so := holds():
        runs.put_step(connection, step)
    return is_so


def begin_step(connection: sa.Connection, lease: Lease, step: RunStep) -> RunStep | None:
    """Write that an attempt begins, unless a step of its key passed before: then return that one and write nothing. Raises FencedOff."""
    require_lease(connection, lease)
    old = runs.passed_before(connection, step.key)
    if old is None:
        runs.put_step(connection, step)
    return old


def set_run(
    connection: sa.Connection, lease: Lease, identifier: str, state: RunState, *, at: float, summary: str, artifact: str | None, deadline: float | None
) -> Run:
    """Write how a run stands, unless it was cancelled; return how it does. Raises FencedOff."""
    require_lease(connection, lease)
    now = runs.get(connection, identifier)
    if now.state is RunState.CANCELLED:
        return now
    return runs.set_run(connection, identifier, state, at=at, summary=summary, artifact=artifact, deadline=deadline)


def cancel(connection: sa.Connection, identifier: str, actor: str, at: float) -> Run:
    """Cancel a run. Raises UsageError if it has ended."""
    run = runs.get(connection, identifier)
    if run.state not in OPEN:
        raise UsageError(f"run {identifier} has ended: {run.state}")
    audit.record(connection, actor, "cancel", f"run/{identifier}", at=at, before=run.state, after=RunState.CANCELLED)
    return runs.set_run(connection, identifier, RunState.CANCELLED, at=at, summary=f"cancelled by {actor}")


def begin_again(connection: sa.Connection, identifier: str, again: Sequence[RunStep], actor: str, at: float) -> Run:
    """Make an ended run wait again, with new attempts at some steps. Raises UsageError if it has not ended."""
    run = runs.get(connection, identifier)
    if run.state in OPEN:
        raise UsageError(f"run {identifier} is {run.state}; wait for its end or cancel it")
    for step in again:
        runs.put_step(connection, step)
    audit.record(connection, actor, "rerun", f"run/{identifier}", at=at, before=run.state, after=RunState.WAITING)
    return runs.reopen(connection, identifier)
