"""Writes operations and their steps, and says how one stands.

Invariant: an operation is never in the store without the steps that were planned with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from manor.errors import ApplyFailed, NotRestored, Paused
from manor.operations.step import Planned, PortsT, StepKinds
from manor.state import journal, operations
from manor.state.journal import NewStep, StepRow
from manor.state.leases import Lease
from manor.state.operations import NewOperation, Operation
from manor.state.store import Store
from manor.state.words import OperationState, Outcome


@dataclass(frozen=True)
class Result:
    """How an operation stands."""

    operation: Operation
    steps: tuple[StepRow, ...]

    @property
    def failed(self) -> tuple[StepRow, ...]:
        """Return the steps that failed."""
        return tuple(step for step in self.steps if step.is_bad)

    @property
    def hosts(self) -> dict[str, Outcome]:
        """Return how each host came off."""
        return journal.host_outcomes(self.steps)

    def raise_unless_done(self) -> None:
        """Raise Paused, ApplyFailed (reverted) or NotRestored (not reverted) with the summary, unless all is done."""
        told = f"operation {self.operation.id} is {self.operation.state}: {self.operation.summary}"
        match self.operation.state:
            case OperationState.DONE:
                return
            case OperationState.PLANNED | OperationState.RUNNING | OperationState.PAUSED:
                raise Paused(f"{told}; {operations.ways_on(self.operation.id)}")
            case OperationState.REVERTED:
                raise ApplyFailed(told)
            case OperationState.FAILED | OperationState.ABANDONED:
                raise NotRestored(told)


def nothing_more(_connection: sa.Connection) -> None:
    """Require nothing more."""


async def create(
    store: Store,
    new: NewOperation,
    steps: Sequence[Planned[PortsT]],
    kinds: StepKinds[PortsT],
    lease: Lease | None = None,
    require: Callable[[sa.Connection], None] = nothing_more,
) -> Operation:
    """Write an operation with its steps. Under a lease it runs from that moment on, so that whoever dies right after has left it to be gone on with.

    Without one it runs when somebody executes it. `require` is asked first, in the same transaction. Raises UsageError, and what `require` raises.
    """
    encoded = [kinds.encode(step) for step in steps]
    return await store.write(create_rows, new, encoded, store.clock.now(), lease.token if lease else None, require)


async def append(store: Store, operation: str, steps: Sequence[Planned[PortsT]], kinds: StepKinds[PortsT]) -> None:
    """Add steps to the present plan of an operation, also while it runs.

    Stages are absolute: the engine always goes on with the lowest stage that has something to do. Give keys, so that a decision
    taken twice (before and after a crash) adds nothing. Raises UsageError, ManorError if a key stands for another act already.
    """
    encoded = [kinds.encode(step) for step in steps]
    await store.write(append_rows, operation, encoded)


async def standing(store: Store, operation: str) -> Result:
    """Return how an operation stands. Raises UsageError if there is none."""
    return await store.read(read_result, operation)


def create_rows(
    connection: sa.Connection,
    new: NewOperation,
    steps: Sequence[NewStep],
    at: float,
    token: int | None = None,
    require: Callable[[sa.Connection], None] = nothing_more,
) -> Operation:
    """Write the operation and its steps, and have it run under a lease's token."""
    require(connection)
    operation = operations.create(connection, new, at=at)
    journal.append(connection, operation.id, steps)
    return operation if token is None else operations.begin(connection, operation.id, token, at=at)


def append_rows(connection: sa.Connection, operation: str, steps: Sequence[NewStep]) -> None:
    """Write more steps into the present plan."""
    journal.append(connection, operation, steps, plan=operations.get(connection, operation).plan)


def read_result(connection: sa.Connection, operation: str) -> Result:
    """Read the operation and its steps from one view."""
    return Result(operations.get(connection, operation), journal.steps(connection, operation))
