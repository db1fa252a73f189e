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
from manor.workflows.rolling import Carrying

APPLY = "apply"


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
        if leads_here(context, operation, expected):
            ended = await go_on(context, operation, carrying)
            raise_unless_applied(ended)
            planned = await plan_site(context, environment)
        elif planned.plan.is_empty:
            await give_up(context, operation, carrying)
    return planned, ended


def leads_here(context: Context, operation: Operation, expected: str = "") -> bool:
    """Tell whether what is left of an apply leads to the estate as it is declared now."""
    return operation.estate_digest == context.estate.digest and operation.plan_hash.startswith(expected)


async def go_on(context: Context, operation: Operation, carrying: Carrying) -> Result:
    """Go on with an apply of the present estate. Raises Busy."""

    async def carry_out(now: Operation, lease: Lease) -> Result:
        site, back = context.site(now.environment), confirming_changes(context.store)
        return await execute(context.store, now.id, site, APPLY_KINDS, lease, on_failure=back, tell=carrying.tell, stop=carrying.stop, chaos=carrying.chaos)

    return await adopt(context.store, operation, carry_out, wait_seconds=carrying.wait_seconds)


async def give_up(context: Context, operation: Operation, carrying: Carrying) -> None:
    """End an apply of another estate of which nothing is left to do. Raises Busy."""
    async with hold(context.store, operation.lease, operation.id, wait_seconds=carrying.wait_seconds) as lease:
        if operation.id in {one.id for one in await left_applies(context.store, operation.environment)}:
            await end_left(context, operation, lease, carrying, "all is as a later estate declares")


async def end_left(context: Context, operation: Operation, lease: Lease, carrying: Carrying, reason: str) -> None:
    """Write into the journal that an apply is not gone on with, and why."""
    await context.store.write(operations.abandon, operation.id, lease.token, carrying.actor, reason, at=context.store.clock.now())
