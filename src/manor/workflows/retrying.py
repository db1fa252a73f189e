"""Goes on with the hosts alone that failed in an operation that has ended (docs/verbs/resume.md)."""

from __future__ import annotations

from manor.errors import UsageError
from manor.operations.planning import Result, standing
from manor.reconcile.ending import raise_unless_applied
from manor.state import operations, releases
from manor.state.operations import Operation
from manor.state.store import Store
from manor.state.words import FINAL, OperationState, Outcome
from manor.workflows.applying import apply_plan, plan_site
from manor.workflows.context import Context
from manor.workflows.delivery import Delivered, finish, heard_in
from manor.workflows.orphans import APPLY
from manor.workflows.receipts import VERBS_WITH_RECEIPT
from manor.workflows.rolling import Carrying, carry_out_rollout, load_release, rollout_of
from manor.workflows.snapshots import keep_estate
from manor.workflows.up import prefixed

BAD = frozenset({Outcome.FAILED, Outcome.UNREACHABLE})


async def find_ended(store: Store, named: str, *, environment: str = "") -> Result:
    """Return the ended operation that a person means: by its id, or the last one of a service or of all. Raises UsageError."""
    found = await store.read(operations.recent, environment or None, limit=1000)
    mine = [one for one in found if one.verb in (APPLY, *VERBS_WITH_RECEIPT) and named in ("", one.id, one.service)]
    if not mine:
        raise UsageError(f"there is no operation{' of ' + named if named else ''}{' in ' + environment if environment else ''}")
    if mine[0].state not in FINAL:
        raise UsageError(f"operation {mine[0].id} ({mine[0].verb} {mine[0].lease}) has not ended; `manor resume {mine[0].id}` goes on with all of it")
    return await standing(store, mine[0].id)


def failed_hosts(result: Result) -> frozenset[str]:
    """Return the hosts to go on with. Raises UsageError if there are none, and says what there is to do instead."""
    operation = result.operation
    told = f"operation {operation.id} ({operation.verb} {operation.lease}) is {operation.state}"
    if operation.verb != APPLY and operation.state is not OperationState.FAILED:
        raise UsageError(f"{told}: no host of it is left half-way; to try again, `manor ship`")
    hosts = bad_hosts(result)
    if not hosts:
        raise UsageError(f"{told}: no host of it failed or was unreachable")
    return hosts


def bad_hosts(result: Result) -> frozenset[str]:
    """Return the hosts that an operation left otherwise than they should be; of a rollout those that its last way back did not reach."""
    operation = result.operation
    if operation.verb == APPLY:
        return frozenset(host for host, outcome in result.hosts.items() if outcome in BAD)
    return frozenset(step.host for step in result.failed if step.host and step.plan == operation.plan)


async def apply_failed(context: Context, result: Result, carrying: Carrying) -> Result | None:
    """Apply what is declared now on the hosts that failed, and on no others; None if there is nothing to do there. Raises what an apply raises."""
    hosts, name = failed_hosts(result), result.operation.environment
    keep_estate(context)
    again = await apply_plan(
        context,
        await plan_site(context, name),
        prefixed(carrying.tell, name),
        carrying.stop,
        actor=carrying.actor,
        wait_seconds=carrying.wait_seconds,
        chaos=carrying.chaos,
        only=hosts,
    )
    if again is not None:
        raise_unless_applied(again)
    return again


async def return_failed(context: Context, result: Result, carrying: Carrying) -> Delivered:
    """Bring the hosts on which a way back failed to the certified release, as `rollback` would bring all. Raises what that raises."""
    hosts, operation = failed_hosts(result), result.operation
    await require_last(context.store, operation)
    certified = await context.store.read(releases.last_certified, operation.environment, operation.service)
    if certified is None:
        raise UsageError(
            f"nothing of {operation.service} is certified in {operation.environment} to return to; `manor ship` brings another release to every host"
        )
    release = await load_release(context, certified.id)
    rollout = await rollout_of(context, operation.environment, operation.service, release, is_return=True, only=hosts)
    ended = await carry_out_rollout(rollout, heard_in(carrying, operation.environment), "rollback")
    return await finish(context, operation.environment, ended, release.short)


async def require_last(store: Store, operation: Operation) -> None:
    """Raise UsageError if the service was rolled out once more since: what failed then is not what is there now."""
    for later in await store.read(operations.recent, operation.environment, operation.service, limit=1):
        if later.id != operation.id:
            raise UsageError(f"{operation.lease} was worked on since ({later.verb}, operation {later.id}, {later.state}); see `manor status`")
