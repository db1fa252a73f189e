"""The journal of steps: intent before, done after; what a restart goes by (docs/operations.md).

Invariant: `journal` is only added to; the row in `steps` is its latest state, written in the same transaction.
Invariant: nothing is written for an executor whose token or lease was succeeded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from manor.errors import ManorError
from manor.state import leases, operations, rows, tables
from manor.state.words import JournalEvent, Outcome


@dataclass(frozen=True)
class NewStep:
    """A step as planned. Steps of one stage run together, stages one after the other."""

    stage: int
    kind: str
    version: int
    payload: str
    """JSON; never a secret."""
    timeout_seconds: float
    key: str = ""
    """Unique in its operation; empty: made from seq and kind."""
    host: str = ""
    text: str = ""
    precondition: str = ""
    postcondition: str = ""
    compensation: str = ""


@dataclass(frozen=True)
class StepRow:
    """A step as it stands."""

    operation: str
    seq: int
    plan: int
    stage: int
    key: str
    kind: str
    version: int
    host: str
    payload: str
    text: str
    precondition: str
    postcondition: str
    compensation: str
    timeout_seconds: float
    attempt: int
    deadline: float | None
    """Absolute; set by the first intent."""
    intent_at: float | None
    done_at: float | None
    outcome: Outcome
    evidence: str

    @property
    def is_open(self) -> bool:
        """Tell whether it was begun and its end is not known."""
        return self.intent_at is not None and self.outcome is Outcome.PENDING

    @property
    def is_bad(self) -> bool:
        """Tell whether it failed."""
        return self.outcome in (Outcome.FAILED, Outcome.UNREACHABLE)


@dataclass(frozen=True)
class JournalRow:
    """A line of the journal."""

    entry: int
    operation: str
    seq: int
    attempt: int
    event: JournalEvent
    token: int
    at: float
    deadline: float | None
    detail: str


def next_steps_query() -> sa.Select[Any]:
    """Return the query of `next_steps`."""
    table = tables.steps
    mine = (table.c.operation == sa.bindparam("of_operation")) & (table.c.plan == sa.bindparam("of_plan"))
    stage = sa.select(sa.func.min(table.c.stage)).where(mine & (table.c.outcome == Outcome.PENDING)).scalar_subquery()
    due = (table.c.outcome == Outcome.PENDING) & (table.c.stage == stage)
    bad = table.c.outcome.in_([Outcome.FAILED, Outcome.UNREACHABLE])
    return sa.select(table).where(mine & (due | bad)).order_by(table.c.seq)


IS_STEP = (tables.steps.c.operation == sa.bindparam("of_operation")) & (tables.steps.c.seq == sa.bindparam("of_seq"))
ONE_STEP = sa.select(tables.steps).where(IS_STEP)
SET_STEP = tables.steps.update().where(IS_STEP)
ALL_STEPS = sa.select(tables.steps).where(tables.steps.c.operation == sa.bindparam("of_operation")).order_by(tables.steps.c.seq)
STEPS_OF_PLAN = ALL_STEPS.where(tables.steps.c.plan == sa.bindparam("of_plan"))
ADD_STEP = tables.steps.insert()
NEXT_STEPS = next_steps_query()
WRITE = tables.journal.insert()


def of_step(operation: str, seq: int) -> dict[str, Any]:
    """Return the parameters of IS_STEP."""
    return {"of_operation": operation, "of_seq": seq}


def append(connection: sa.Connection, operation: str, new: Sequence[NewStep], *, plan: int = 0) -> None:
    """Add steps. One whose key is there already is left as it is, so that a decision taken twice adds nothing. Raises ManorError if it differs."""
    there = {step.key: step for step in steps(connection, operation)}
    seq = max((step.seq for step in there.values()), default=0)
    added: list[dict[str, Any]] = []
    for step in new:
        known = there.get(step.key) if step.key else None
        if known:
            require_same(operation, known, step)
            continue
        seq += 1
        key = step.key or f"{seq}-{step.kind}"
        added.append(vars(step) | {"key": key, "operation": operation, "seq": seq, "plan": plan, "outcome": Outcome.PENDING})
    if added:
        connection.execute(ADD_STEP, added)


def require_same(operation: str, known: StepRow, step: NewStep) -> None:
    """Raise ManorError unless the key stands for the same act."""
    if (known.kind, known.version, known.payload) != (step.kind, step.version, step.payload):
        raise ManorError(f"operation {operation}: the key {step.key!r} stands for another {known.kind}; a key must mean one act")


def steps(connection: sa.Connection, operation: str, plan: int | None = None) -> tuple[StepRow, ...]:
    """Return the steps of an operation, or of one of its plans, by seq."""
    if plan is None:
        return rows.all_of(connection, ALL_STEPS, StepRow, of_operation=operation)
    return rows.all_of(connection, STEPS_OF_PLAN, StepRow, of_operation=operation, of_plan=plan)


def next_steps(connection: sa.Connection, operation: str, plan: int) -> tuple[StepRow, ...]:
    """Return the pending steps of the lowest stage of a plan that has any, and all its failed ones, by seq."""
    return rows.all_of(connection, NEXT_STEPS, StepRow, of_operation=operation, of_plan=plan)


def get(connection: sa.Connection, operation: str, seq: int) -> StepRow:
    """Return one step. Raises ManorError if there is none."""
    found = rows.first_of(connection, ONE_STEP, StepRow, **of_step(operation, seq))
    if found is None:
        raise ManorError(f"operation {operation} has no step {seq}")
    return found


def history(connection: sa.Connection, operation: str) -> tuple[JournalRow, ...]:
    """Return all lines about an operation, oldest first."""
    query = sa.select(tables.journal).where(tables.journal.c.operation == operation).order_by(tables.journal.c.entry)
    return rows.all_of(connection, query, JournalRow)


def intent(connection: sa.Connection, operation: str, seq: int, token: int, *, deadline: float, at: float, begins_anew: bool = False) -> StepRow:
    """Write that the step is about to be done; prolongs the lease. One that begins anew puts the operation's deadline off. Raises FencedOff."""
    owner = operations.require_token(connection, operation, token)
    leases.renew(connection, lease_of(connection, owner, token), token, now=at)
    step = get(connection, operation, seq)
    if begins_anew and step.intent_at is not None and owner.deadline is not None:
        operations.change(connection, operation, deadline=owner.deadline + in_vain(connection, operation, step.intent_at, at))
    begun = replace(step, attempt=step.attempt + 1, deadline=deadline, intent_at=at)
    update(connection, operation, seq, attempt=begun.attempt, deadline=deadline, intent_at=at)
    write(connection, operation, seq, begun.attempt, JournalEvent.INTENT, token, at, deadline=deadline)
    return begun


def in_vain(connection: sa.Connection, operation: str, since: float, at: float) -> float:
    """Return how long an attempt was in vain that was begun then, without its pauses: deadlines were put off by those already."""
    return at - since - sum(pause.seconds for pause in operations.pauses(connection, operation) if pause.began >= since)


def done(
    connection: sa.Connection, operation: str, seq: int, token: int, outcome: Outcome, evidence: str, *, at: float, event: JournalEvent = JournalEvent.DONE
) -> StepRow:
    """Write how the step ended, with its evidence (JSON or plain text). Raises FencedOff."""
    operations.require_token(connection, operation, token)
    step = get(connection, operation, seq)
    update(connection, operation, seq, done_at=at, outcome=outcome, evidence=evidence)
    write(connection, operation, seq, step.attempt, event, token, at, detail=evidence)
    return replace(step, done_at=at, outcome=outcome, evidence=evidence)


def compensated(connection: sa.Connection, operation: str, seq: int, token: int, detail: str, *, at: float) -> None:
    """Write that what was half done was taken back. Raises FencedOff."""
    operations.require_token(connection, operation, token)
    write(connection, operation, seq, get(connection, operation, seq).attempt, JournalEvent.COMPENSATED, token, at, detail=detail)


def skip(connection: sa.Connection, operation: str, token: int, seqs: Iterable[int], reason: str, *, at: float) -> None:
    """Write that steps will not be done. Raises FencedOff."""
    for seq in seqs:
        done(connection, operation, seq, token, Outcome.SKIPPED, reason, at=at, event=JournalEvent.SKIPPED)


def host_outcomes(found: Iterable[StepRow]) -> dict[str, Outcome]:
    """Return how each host came off: the worst of its steps forward and of those of the last way back; `ok` only if all are."""
    worst = (Outcome.FAILED, Outcome.UNREACHABLE, Outcome.PENDING, Outcome.SKIPPED, Outcome.OK)
    steps_ = tuple(found)
    counted = {0, max((step.plan for step in steps_), default=0)}
    by_host: dict[str, set[Outcome]] = {}
    for step in steps_:
        if step.plan in counted:
            by_host.setdefault(step.host, set()).add(step.outcome)
    return {host: next(word for word in worst if word in outcomes) for host, outcomes in sorted(by_host.items()) if host}


def lease_of(connection: sa.Connection, operation: operations.Operation, token: int) -> str:
    """Return the name of the lease held with this token that covers the operation; its own name if there is none (renewing then fails)."""
    held = [lease.name for lease in leases.standing(connection) if lease.token == token and leases.is_below(operation.lease, lease.name)]
    return held[0] if held else operation.lease


def update(connection: sa.Connection, operation: str, seq: int, **values: object) -> None:
    """Set columns of one step."""
    connection.execute(SET_STEP, of_step(operation, seq) | values)


def write(
    connection: sa.Connection,
    operation: str,
    seq: int,
    attempt: int,
    event: JournalEvent,
    token: int,
    at: float,
    *,
    deadline: float | None = None,
    detail: str = "",
) -> None:
    """Add a line."""
    line = {"operation": operation, "seq": seq, "attempt": attempt, "event": event, "token": token, "at": at, "deadline": deadline, "detail": detail}
    connection.execute(WRITE, line)
