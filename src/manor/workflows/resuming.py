"""Go on with operations that stopped half-way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeAlias

from manor.operations.adoption import adopt
from manor.operations.engine import Beside, nothing_beside
from manor.operations.events import Event, What
from manor.operations.planning import Result
from manor.reconcile.ending import raise_unless_applied
from manor.state import operations
from manor.state.leases import Lease
from manor.state.operations import Operation
from manor.state.store import Store
from manor.state.words import OperationState
from manor.workflows.context import Context
from manor.workflows.down import carry_out_down
from manor.workflows.ending_hosts import VERB as DOWN
from manor.workflows.ending_hosts import raise_unless_down
from manor.workflows.left import carry_out_apply
from manor.workflows.orphans import APPLY
from manor.workflows.receipts import VERBS_WITH_RECEIPT, receipt_or_reason
from manor.workflows.removing import VERB as REMOVAL
from manor.workflows.removing import resume_removal
from manor.workflows.rolling import Carrying, require_done, resumed_rollout, run_operation
from manor.workflows.up import prefixed

UNFINISHED = (OperationState.RUNNING, OperationState.PAUSED)

WhyBack: TypeAlias = Callable[[Operation], Awaitable[str]]
"""Says why a rollout is to be turned round and not finished; empty: it, and whatever is no rollout, is gone on with."""


async def no_way_back(_operation: Operation) -> str:
    """Turn nothing round."""
    return ""


async def resume_operation(
    context: Context, operation: Operation, carrying: Carrying, *, why_back: WhyBack = no_way_back, beside: Beside = nothing_beside
) -> Result:
    """Go on with an operation whose executor is gone, or that was paused. Raises Busy if it is being carried out.

    `why_back` is asked under its lease, before anything is done, if it has not ended; `beside` is written with a rollout's end.
    """
    heard = prefixed(carrying.tell, operation.environment)

    async def carry_out(now: Operation, lease: Lease) -> Result:
        mine, back = replace(carrying, tell=heard), await why_back(now)
        if now.verb == APPLY:
            return await carry_out_apply(context, now, lease, mine)
        if now.verb == DOWN:
            return await carry_out_down(context, now, lease, carrying)
        if now.verb == REMOVAL:
            return await resume_removal(context, now, lease, mine)
        return await run_operation(await resumed_rollout(context, now), now, lease, mine, back, beside)

    result = await adopt(context.store, operation, carry_out, wait_seconds=carrying.wait_seconds)
    if result.operation.verb in VERBS_WITH_RECEIPT and result.operation.state.is_final:
        _, why_not = await receipt_or_reason(context, result)
        if why_not:
            heard(Event(What.SAID, context.store.clock.now(), result.operation.id, why_not))
    return result


def require_ended_well(result: Result) -> None:
    """Raise what an operation's end means for the exit code, by its verb."""
    if result.operation.verb == APPLY:
        raise_unless_applied(result)
    elif result.operation.verb == DOWN:
        raise_unless_down(result)
    elif result.operation.verb == REMOVAL:
        result.raise_unless_done()
    else:
        require_done(result)


async def unfinished(store: Store, *, environment: str = "", service: str = "") -> tuple[Operation, ...]:
    """Return the operations that are running or paused, oldest first."""
    found = await store.read(operations.recent, states=list(UNFINISHED), limit=1000)
    return tuple(one for one in reversed(found) if environment in ("", one.environment) and service in ("", one.service))


async def candidates(store: Store, named: str, *, environment: str = "") -> tuple[Operation, ...]:
    """Return the unfinished operations that a person may mean: by an id, a service, or nothing."""
    return tuple(one for one in await unfinished(store, environment=environment) if named in ("", one.id, one.service))
