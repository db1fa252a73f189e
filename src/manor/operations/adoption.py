"""Goes on with operations whose executor is gone (docs/operations.md, adoption).

Invariant: an operation is adopted under the next token of its own lease, so its former executor, should it live, is fenced off.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import sqlalchemy as sa

from manor.operations.leasing import hold
from manor.operations.planning import Result, standing
from manor.state import leases, operations
from manor.state.holder import Holder, is_gone, this_process
from manor.state.leases import IsGone, Lease
from manor.state.operations import Operation
from manor.state.store import Store
from manor.state.words import OperationState

CarryOut: TypeAlias = Callable[[Operation, Lease], Awaitable[Result]]
"""Executes an operation by its verb and arguments under the lease: builds ports, kinds and `on_failure`, and calls `execute`."""


async def find_orphans(store: Store, *, me: Holder | None = None, is_gone: IsGone = is_gone) -> tuple[Operation, ...]:
    """Return the running operations that nobody carries out: their lease was let go, ran out, or its holder is provably gone."""
    return await store.read(orphans, me or this_process(), store.clock.now(), is_gone)


async def adopt(
    store: Store, operation: Operation, carry_out: CarryOut, *, wait_seconds: float = 0.0, holder: Holder | None = None, is_gone: IsGone = is_gone
) -> Result:
    """Go on with an orphaned or paused operation. Returns how it stands if another executor has ended it meanwhile. Raises Busy, FencedOff."""
    async with hold(store, operation.lease, operation.id, wait_seconds=wait_seconds, holder=holder, is_gone=is_gone) as lease:
        now = await store.read(operations.get, operation.id)
        return await standing(store, operation.id) if now.state.is_final else await carry_out(now, lease)


def orphans(connection: sa.Connection, me: Holder, now: float, is_gone: IsGone) -> tuple[Operation, ...]:
    """Return running operations without a live lease of their token."""
    alive = {lease.token for lease in leases.standing(connection) if leases.is_held(lease, me, now, is_gone)}
    running = operations.recent(connection, states=[OperationState.RUNNING], limit=1000)
    return tuple(operation for operation in reversed(running) if operation.token not in alive)
