"""What a verb would do: the refusals and steps of the same plans, carried out by nobody (`--dry-run`).

Invariant: works on a context that was opened for a dry run: whatever is written on the way lands in a copy that is thrown away.
Invariant: nothing waits: a lease that somebody holds is told as the refusal that it would be without `--wait`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from manor.estate.layout import short
from manor.observe.hosts import observe_programs
from manor.operations.planning import standing
from manor.operations.step import Planned
from manor.rollout.plan import plan_rollout
from manor.state import deliveries, journal, leases, operations, places
from manor.state.deliveries import Delivery, Wish
from manor.state.holder import this_process
from manor.state.journal import StepRow
from manor.state.operations import Operation
from manor.state.words import OperationState, Outcome
from manor.workflows.applying import plan_site, question_of, require_allowed, require_drained, require_expected, require_withdrawn, steps_of
from manor.workflows.artifacts import Origin, keep_file
from manor.workflows.context import Context
from manor.workflows.controlling import find_controller
from manor.workflows.deliveries import SHIP, accept_and_write_down, entrance, find_orphans, promotion
from manor.workflows.delivery import Entry, ask_entry, path_from
from manor.workflows.down import require_no_other
from manor.workflows.ending_hosts import EndHost, EndPart, parts_of
from manor.workflows.left import coming_apply, left_applies
from manor.workflows.orphans import ROLLBACK, Coming, Fate, fate_of
from manor.workflows.removing import VERB as REMOVAL
from manor.workflows.removing import plan_removal, prepare_removal, require_undeclared
from manor.workflows.rollback import find_target, is_return_to, return_to
from manor.workflows.rolling import ORDER, Rollout, is_done, plan_wished_return, prepare_rollout, require_done
from manor.workflows.services import RESTART, prepare_restart
from manor.workflows.taking_over import TURNED_ROUND, Left, coming_to, find_left, require_decided


@dataclass(frozen=True)
class ForeseenStep:
    """A step that would be taken; those of one stage together."""

    stage: int
    host: str
    kind: str
    text: str


@dataclass(frozen=True)
class Foreseen:
    """What a verb would do in one environment."""

    verb: str
    environment: str
    steps: tuple[ForeseenStep, ...] = ()
    note: str = ""
    """What there is to know besides; why there are no steps."""


Show: TypeAlias = Callable[[Foreseen], None]


def foreseen_steps(steps: Iterable[Planned[Any]]) -> tuple[ForeseenStep, ...]:
    """Return planned steps as they are shown."""
    return tuple(ForeseenStep(planned.stage, planned.step.host, planned.step.kind, planned.step.text) for planned in steps)


async def require_free(context: Context, name: str) -> None:
    """Raise Busy if the lease is held by the living, Paused if an operation under it was interrupted."""
    await context.store.read(leases.require_free, name, holder=this_process(), now=context.store.clock.now())
    await context.store.read(operations.require_none_unfinished, name)


async def require_clear(context: Context, coming: Coming) -> None:
    """Raise Busy if the lease is held by the living, Paused if anything in the way of a verb on a service waits for a person."""
    await require_lease(context, coming.lease)
    require_decided(await find_left(context, coming), coming)


async def foresee_apply(context: Context, environments: Iterable[str], show: Show, *, expected: str = "", allow_destroy: bool = False) -> None:
    """Show what an apply would do. Raises what it would refuse."""
    for name in environments:
        show(await foreseen_apply(context, name, "apply", expected, allow_destroy=allow_destroy))


async def foresee_up(context: Context, environments: Iterable[str], show: Show, *, allow_destroy: bool = False, with_controller: bool = True) -> None:
    """Show what an up would do. Raises what it would refuse."""
    for name in environments:
        show(await foreseen_apply(context, name, "up", "", allow_destroy=allow_destroy))
    if with_controller and await find_controller(context) is None:
        show(Foreseen("up", "", note="the controller would be started in the background"))


async def foreseen_apply(context: Context, environment: str, verb: str, expected: str, *, allow_destroy: bool) -> Foreseen:
    """Return what would be done in one environment. Raises what would be refused."""
    planned = await plan_site(context, environment)
    plan = planned.plan
    done = await context.store.read(operations.carried_out, environment, expected) if expected else None
    if done is not None:
        return Foreseen(verb, environment, note=f"nothing to do; plan {short(expected)} was carried out by operation {done.id}")
    coming = coming_apply(context, environment, expected)
    left = [one for one in await left_applies(context.store, environment) if fate_of(one, coming) is Fate.GO_ON]
    if left:
        return await foreseen_rest(context, left[0], verb)
    require_expected(plan, expected)
    if plan.is_empty:
        return Foreseen(verb, environment, note="nothing to do; all is as declared")
    require_allowed(plan, context.estate.removed, allow_destroy=allow_destroy)
    await require_drained(context, environment)
    await require_withdrawn(planned.site)
    await require_free(context, environment)
    return Foreseen(verb, environment, foreseen_steps(steps_of(planned)), f"`manor plan -e {environment}` shows every difference")


async def foresee_down(context: Context, environments: Sequence[str], show: Show, *, is_whole: bool, purge: bool) -> None:
    """Show what a down would end: what runs now, host by host. Raises Busy, and UsageError for a purge that others would miss."""
    up = {place.name for place in await context.store.read(places.environments)}
    if purge:
        require_no_other(up, environments)
    for name in up & set(environments):
        await context.store.read(leases.require_free, name, holder=this_process(), now=context.store.clock.now())
    if is_whole and await find_controller(context) is not None:
        show(Foreseen("down", "", note="the controller would be ended"))
    for name in environments:
        if name not in up:
            show(Foreseen("down", name, note="nothing to do; it is not up"))
            continue
        show(Foreseen("down", name, await ending_steps(context, name), "then its addresses would be given back"))
    if purge:
        show(Foreseen("down", "", note=f"{context.folder} would be removed: releases, receipts, audit and all"))


async def ending_steps(context: Context, environment: str) -> tuple[ForeseenStep, ...]:
    """Return what of an environment runs now and would be ended, a line a host."""
    site, found = context.site(environment), []
    for stage, (name, key) in enumerate(parts_of(site)):
        own = site.tier(name, key).own_path
        found.append(ForeseenStep(stage, name, EndPart.kind, f"{key}: {f'{own} goes from your program' if own else 'its servers go into maintenance'}"))
    stage = len(found)
    for name, host in site.hosts.items():
        views = await observe_programs(question_of(host), site.runners[name]) if host.is_supervised else None
        if views is not None:
            running = sorted(view.name for view in views if view.pid)
            found.append(ForeseenStep(stage, name, EndHost.kind, f"{host.supervisor.name} ends{': ' if running else ''}{', '.join(running)}"))
    return tuple(found)


async def foresee_ship(context: Context, service: str, path: Path, show: Show, *, actor: str, origin: Origin, to: str = "", again: str = "") -> None:
    """Show what a ship would do, environment by environment, each from how it is now. Raises what it would refuse."""
    start = entrance(context, service, to)
    accept = await keep_file(context, service, path, origin)
    wish = Wish(SHIP, service, accept.digest, start, to, actor, again)
    await foresee_delivery(context, await context.store.write(accept_and_write_down, accept, wish, context.store.clock.now()), show)


async def foresee_promote(context: Context, service: str, to: str, show: Show, *, actor: str, release: str = "", again: str = "") -> None:
    """Show what a promotion would do. Raises what it would refuse."""
    wish = await promotion(context, service, to, actor, release=release, again=again)
    await foresee_delivery(context, await context.store.write(deliveries.write_down, wish, at=context.store.clock.now()), show)


async def foresee_delivery(context: Context, delivery: Delivery, show: Show) -> None:
    """Show what is left of a delivery, after what was left of the same service."""
    await require_lease(context, delivery.lease)
    older = [one for one in await find_orphans(context) if one.service == delivery.service and one.id != delivery.id and not await is_paused(context, one)]
    shown = frozenset({delivery.id, *(one.id for one in older)})
    first, *later = (coming_to(context, delivery.verb, name, delivery.service) for name in path_from(context, delivery.environment, to=delivery.to))
    await require_clear(context, first)
    for coming in (first, *later):
        await foresee_left(context, coming, show, but=shown)
    for one in older:
        show(Foreseen(one.verb, one.environment, note=f"first delivery {one.id}, which somebody left, is gone on with"))
        await require_lease(context, one.lease)
        await foresee_way(context, one, show)
    await foresee_way(context, delivery, show)


async def is_paused(context: Context, delivery: Delivery) -> bool:
    """Tell whether the last operation of a delivery waits for a person."""
    last = await context.store.read(operations.last_of_delivery, delivery.id)
    return last is not None and last.state is OperationState.PAUSED


async def foresee_way(context: Context, delivery: Delivery, show: Show, *, by_person: bool = False) -> None:
    """Show what a delivery still does, environment by environment; `by_person`: one who resumes it, and takes nothing else over."""
    is_foreseen = False
    for name in path_from(context, delivery.environment, to=delivery.to):
        begun = await context.store.read(operations.last_of_delivery, delivery.id, name)
        entry = Entry() if begun else await ask_entry(context, delivery, name, is_foreseen=is_foreseen)
        if entry.held_back:
            return show(Foreseen(delivery.verb, name, note=entry.held_back))
        is_foreseen = begun is None or not begun.state.is_final
        if begun is None:
            rollout = await prepare_rollout(context, name, delivery.service, delivery.artifact, again=delivery.again)
            await foresee_rollout(context, rollout, show, delivery.verb, takes_over=not by_person)
            continue
        if begun.state.is_final or (begun.state is OperationState.PAUSED and not by_person):
            require_done(await standing(context.store, begun.id))
        else:
            await foresee_rest(context, begun, show)
    return None


async def foresee_rollout(context: Context, rollout: Rollout, show: Show, verb: str, *, takes_over: bool = True) -> None:
    """Show the steps of a rollout, or that there is nothing to do. Raises Busy, Paused."""
    if is_done(rollout):
        show(Foreseen(verb, rollout.environment, note=f"nothing to do; every instance serves {rollout.order.release} and it is certified"))
    else:
        await show_rollout(context, rollout, show, verb, takes_over=takes_over)


async def show_rollout(context: Context, rollout: Rollout, show: Show, verb: str, *, takes_over: bool = True) -> None:
    """Show the steps of a rollout, from how it is now. Raises Busy, Paused."""
    order, environment = rollout.order, rollout.environment
    await (
        require_clear(context, coming_to(context, verb, environment, order.service)) if takes_over else require_free(context, f"{environment}/{order.service}")
    )
    show(Foreseen(verb, environment, foreseen_steps(plan_rollout(order)), f"{order.service} {order.release}"))


async def foresee_left(context: Context, coming: Coming, show: Show, *, but: frozenset[str] = frozenset()) -> tuple[Left, ...]:
    """Show and return what a verb would bring to an end first, without what belongs to some deliveries and without what waits for a person."""
    left = tuple(one for one in await find_left(context, coming) if one.fate is not Fate.WAIT and not (but and one.operation.delivery in but))
    for one in left:
        show(await foreseen_end(context, one))
    return left


async def foreseen_end(context: Context, left: Left) -> Foreseen:
    """Return how an operation that nobody carries out would be brought to its end. Raises Busy."""
    one = left.operation
    rest = await foreseen_rest(context, one, one.verb)
    told = f"first operation {one.id} ({one.verb} {one.lease}), which nobody carries out,"
    if left.fate is not Fate.TURN_ROUND:
        return replace(rest, note=f"{told} is gone on with")
    if not one.plan:
        rows = await context.store.read(journal.steps, one.id)
        rest = replace(rest, steps=foreseen_steps(plan_wished_return(ORDER.validate_json(one.arguments), rows, TURNED_ROUND)))
    return replace(rest, note=f"{told} is turned round")


async def foresee_rollback(context: Context, service: str, environment: str, show: Show, *, to: str = "") -> None:
    """Show what a rollback would do. Raises what it would refuse."""
    target = await find_target(context, service, environment, to=to)
    coming = coming_to(context, ROLLBACK, environment, service)
    await require_clear(context, coming)
    for left in await foresee_left(context, coming, show):
        if is_return_to(left, target):
            return show(Foreseen(ROLLBACK, environment, note=f"that is the rollback: {short(target.id)} then serves, and it is certified"))
    return await foresee_rollout(context, await return_to(context, service, environment, target), show, ROLLBACK)


async def foresee_restart(context: Context, service: str, environment: str, show: Show) -> None:
    """Show what a restart would do. Raises what it would refuse."""
    coming = coming_to(context, RESTART, environment, service)
    await require_clear(context, coming)
    await foresee_left(context, coming, show)
    await show_rollout(context, await prepare_restart(context, service, environment), show, RESTART)


async def foresee_removal(context: Context, service: str, environment: str, show: Show) -> None:
    """Show what a removal would do. Raises what it would refuse."""
    require_undeclared(context, service, environment)
    coming = coming_to(context, REMOVAL, environment, service)
    await require_clear(context, coming)
    is_begun = REMOVAL in [one.operation.verb for one in await foresee_left(context, coming, show)]
    removal = None if is_begun else await prepare_removal(context, service, environment)
    if removal is None:
        return None if is_begun else show(Foreseen(REMOVAL, environment, note="nothing to do; nothing of it is there"))
    return show(Foreseen(REMOVAL, environment, foreseen_steps(plan_removal(removal.fleet, removal.hosts)), service))


async def foresee_resume(context: Context, found: Operation | Delivery, delivery: Delivery | None, show: Show) -> None:
    """Show what is left of an operation, or of the delivery that it is part of. Raises Busy if somebody carries it out."""
    if delivery is not None:
        await require_lease(context, delivery.lease)
        await foresee_way(context, delivery, show, by_person=True)
    elif isinstance(found, Operation):
        await foresee_rest(context, found, show)


async def foresee_rest(context: Context, operation: Operation, show: Show) -> None:
    """Show the steps that an operation still has to take."""
    show(await foreseen_rest(context, operation, operation.verb))


async def foreseen_rest(context: Context, operation: Operation, verb: str) -> Foreseen:
    """Return the steps that an operation still has to take, as the journal has them. Raises Busy."""
    await require_lease(context, operation.lease)
    rows = [row for row in await context.store.read(journal.steps, operation.id, operation.plan) if row.outcome is Outcome.PENDING]
    return Foreseen(verb, operation.environment, tuple(map(left_step, rows)), f"what is left of operation {operation.id}")


async def require_lease(context: Context, name: str) -> None:
    """Raise Busy if a lease is held by the living."""
    await context.store.read(leases.require_free, name, holder=this_process(), now=context.store.clock.now())


def left_step(row: StepRow) -> ForeseenStep:
    """Return a step of the journal as it is shown; what was begun is looked at before anything else."""
    return ForeseenStep(row.stage, row.host, row.kind, f"{row.text}{'  (begun; looked at first)' if row.intent_at is not None else ''}")
