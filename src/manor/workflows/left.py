"""Applies that somebody left: gone on with where they lead to what is declared, given up where nothing is left to do (docs/apply.md, left half-way).

Invariant: the journal says of each how it ended; none counts as done that was not carried out.
"""

from __future__ import annotations

from manor.operations.adoption import adopt
from manor.operations.engine import execute
from manor.operations.leasing import hold
from manor.operations.planning import Result
from manor.reconcile.ending import raise_unless_applied
from manor.reconcile.plan import Plan
from manor.state import operations
from manor.state.leases import Lease
from manor.state.operations import Operation
from manor.state.store import Store
from manor.workflows.applying import APPLY_KINDS, Planned, apply_plan, confirming_changes, plan_site
from manor.workflows.context import Context
from manor.workflows.orphans import APPLY, Coming, Fate, fate_of
from manor.workflows.rolling import Carrying
from manor.workflows.snapshots import context_at


async def left_applies(store: Store, environment: str) -> tuple[Operation, ...]:
    """Return the applies of an environment that were begun and have not ended, oldest first."""
    return tuple(one for one in await store.read(operations.unfinished, environment) if one.verb == APPLY and one.environment == environment)


async def apply_environment(
    context: Context, environment: str, carrying: Carrying, *, expected: str = "", allow_destroy: bool = False
) -> tuple[Plan, Result | None]:
    """Bring an environment to what is declared; return the plan, and how its operation ended; None: nothing to do. Raises what an apply raises."""
    planned, left = await plan_after_left(context, environment, carrying, expected=expected)
    return planned.plan, await apply_planned(context, planned, carrying, expected=expected, allow_destroy=allow_destroy) or left


async def apply_planned(context: Context, planned: Planned, carrying: Carrying, *, expected: str = "", allow_destroy: bool = False) -> Result | None:
    """Carry a plan out to its end; None: nothing to do. Raises what an apply raises."""
    result = await apply_plan(
        context,
        planned,
        carrying.tell,
        carrying.stop,
        actor=carrying.actor,
        expected=expected,
        wait_seconds=carrying.wait_seconds,
        allow_destroy=allow_destroy,
        chaos=carrying.chaos,
    )
    if result is not None:
        raise_unless_applied(result)
    return result


async def plan_after_left(context: Context, environment: str, carrying: Carrying, *, expected: str = "") -> tuple[Planned, Result | None]:
    """Return what differs once no apply is left half-way, and how the one that was gone on with ended; None: there was none.

    What leads to another estate is left for whoever applies to be told of, unless nothing differs; so is another plan than `expected`.
    Raises Busy if somebody carries it out, and what an apply raises.
    """
    planned, ended = await plan_site(context, environment), None
    for operation in await left_applies(context.store, environment):
        if fate_of(operation, coming_apply(context, environment, expected)) is Fate.GO_ON:
            ended = await go_on(context, operation, carrying)
            raise_unless_applied(ended)
            planned = await plan_site(context, environment)
        elif planned.plan.is_empty:
            planned = await give_up_if_done(context, operation, carrying)
    return planned, ended


def coming_apply(context: Context, environment: str, expected: str = "") -> Coming:
    """Return an apply that is about to change an environment."""
    return Coming(APPLY, environment, "", context.estate.digest, expected)


async def go_on(context: Context, operation: Operation, carrying: Carrying) -> Result:
    """Go on with an apply of the present estate. Raises Busy."""

    async def carry_out(now: Operation, lease: Lease) -> Result:
        return await carry_out_apply(context, now, lease, carrying)

    return await adopt(context.store, operation, carry_out, wait_seconds=carrying.wait_seconds)


async def carry_out_apply(context: Context, operation: Operation, lease: Lease, carrying: Carrying) -> Result:
    """Execute an apply that was begun before, under the estate that it was begun with."""
    store, site = context.store, context_at(context, operation.estate_digest).site(operation.environment)
    confirming, hear, stop = confirming_changes(store), carrying.tell, carrying.stop
    return await execute(store, operation.id, site, APPLY_KINDS, lease, on_failure=confirming, tell=hear, stop=stop, chaos=carrying.chaos)


async def give_up_if_done(context: Context, operation: Operation, carrying: Carrying) -> Planned:
    """End an apply of another estate if nothing of it is left to do, and return what differs: looked at again, now that nobody else changes it. Raises Busy."""
    async with hold(context.store, operation.lease, operation.id, wait_seconds=carrying.wait_seconds) as lease:
        planned = await plan_site(context, operation.environment)
        is_left = operation.id in {one.id for one in await left_applies(context.store, operation.environment)}
        if is_left and planned.plan.is_empty:
            await end_left(context, operation, lease, carrying, "all is as a later estate declares")
        return planned


async def end_left(context: Context, operation: Operation, lease: Lease, carrying: Carrying, reason: str) -> None:
    """Write into the journal that an apply is not gone on with, and why."""
    await context.store.write(operations.abandon, operation.id, lease.token, carrying.actor, reason, at=context.store.clock.now())
