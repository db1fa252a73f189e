"""Return an environment to a certified release, also out of a rollout that nobody carries out any more (docs/delivery.md, back).

Invariant: where to is decided before anything that was left is taken over, so a release that was not certified then is never what is returned to.
"""

from __future__ import annotations

from dataclasses import replace

from manor.errors import UsageError
from manor.estate.layout import short
from manor.operations.leasing import hold
from manor.operations.planning import Result
from manor.rollout.wayback import serves_after
from manor.state import operations, releases
from manor.state.leases import lease_name
from manor.state.releases import ReleaseRow
from manor.state.words import OperationState
from manor.workflows.context import Context
from manor.workflows.delivery import Delivered, certified_before, delivered_by, finish, heard_in, nothing_to_do
from manor.workflows.orphans import FORWARD, ROLLBACK, Fate
from manor.workflows.receipts import VERBS_WITH_RECEIPT
from manor.workflows.rolling import ORDER, Carrying, Rollout, carry_out_rollout, is_done, load_release, rollout_of
from manor.workflows.taking_over import Left, coming_to, find_left, require_not_stopped, take_over


async def rollback(context: Context, service: str, environment: str, carrying: Carrying, *, to: str = "") -> Delivered:
    """Return an environment to the last certified release; where that serves already, to the one certified before; or to a named one.

    A rollout that was left half-way is turned round first, and where that brings what is wanted, that was the rollback.
    Raises UsageError if there is nothing to return to, and what a rollout and `take_over` raise.
    """
    target = await find_target(context, service, environment, to=to)
    coming = coming_to(context, ROLLBACK, environment, service)
    ended = await take_over(context, coming, carrying)
    await wait_for_living(context, coming.lease, carrying)
    rollout = await return_to(context, service, environment, target)
    if not is_done(rollout):
        if ended:
            require_not_stopped(coming, carrying)
        return await finish(context, environment, await carry_out_rollout(rollout, heard_in(carrying, environment), ROLLBACK), rollout.order.release)
    returned = [one for one in ended if one.operation.verb in VERBS_WITH_RECEIPT]
    return await returned_by(context, environment, returned[-1], target) if returned else nothing_to_do(environment, short(target.id))


async def find_target(context: Context, service: str, environment: str, *, to: str = "") -> ReleaseRow:
    """Return the release to go back to, whatever was left half-way. Raises UsageError if there is none."""
    if to:
        return await certified_before(context, service, environment, to)
    now = await context.store.read(releases.last_certified, environment, service)
    found = await half_way(context, service, environment, now)
    if found is None:
        but = now.id if now and await releases_serving(context, environment, service) == {now.id} else ""
        found = await context.store.read(releases.last_certified, environment, service, but=but)
    if found is None:
        raise UsageError(f"{environment} has no other certified release of {service} to return to")
    return found


async def half_way(context: Context, service: str, environment: str, now: ReleaseRow | None) -> ReleaseRow | None:
    """Return where to, beside a rollout that has not ended: out of a rollback, failed or not, to its own release; out of another to what is certified.

    None: there is no such rollout, or what it rolls out is certified already and it is not to be turned round.
    """
    left = await find_left(context, coming_to(context, ROLLBACK, environment, service))
    turned = {one.operation.id for one in left if one.fate is Fate.TURN_ROUND}
    for one in await context.store.read(operations.unfinished, lease_name(environment, service)):
        if one.verb not in VERBS_WITH_RECEIPT or now is None:
            continue
        release = ORDER.validate_json(one.arguments).release
        if one.verb in FORWARD and (one.id in turned or release != short(now.id)):
            return now
        if one.verb == ROLLBACK:
            return await context.store.read(releases.get_release, release)
    return None


async def wait_for_living(context: Context, lease: str, carrying: Carrying) -> None:
    """Wait for whoever changes the service now: what serves meanwhile says nothing. Raises Busy, and Paused for what waits for a person."""
    if await context.store.read(operations.unfinished, lease):
        async with hold(context.store, lease, wait_seconds=carrying.wait_seconds):
            await context.store.read(operations.require_none_unfinished, lease)


def is_return_to(left: Left, target: ReleaseRow) -> bool:
    """Tell whether the end of what was left brings what a rollback is to bring."""
    if left.operation.verb not in VERBS_WITH_RECEIPT:
        return False
    order = ORDER.validate_json(left.operation.arguments)
    is_back = left.fate is Fate.TURN_ROUND or left.operation.plan > 0
    return short(target.id) == (serves_after(order) if is_back else order.release)


async def return_to(context: Context, service: str, environment: str, target: ReleaseRow) -> Rollout:
    """Return the rollout that returns an environment to a release."""
    return await rollout_of(context, environment, service, await load_release(context, target.id), is_return=True)


async def releases_serving(context: Context, environment: str, service: str) -> set[str]:
    """Return the releases that active slots hold."""
    rows = await context.store.read(releases.slots, environment, service)
    active = {(row.instance, row.active) for row in await context.store.read(releases.deployments, environment, service)}
    return {row.release for row in rows if (row.instance, row.slot) in active}


async def returned_by(context: Context, environment: str, result: Result, target: ReleaseRow) -> Delivered:
    """Return how a rollback came out that the end of what was left has brought."""
    verb, left = result.operation.verb, ORDER.validate_json(result.operation.arguments).release
    what = f"the unfinished {verb} {'to' if verb == ROLLBACK else 'of'} {left}"
    is_finished = result.operation.state is OperationState.DONE
    told = f"{what} was finished" if is_finished else f"{what} was turned round; {short(target.id)}, certified, serves as before it"
    one = await delivered_by(context, environment, result, short(target.id))
    return replace(one, verdict=f"{told} · {one.verdict}" if one.verdict else told)
