"""Rolls a release out in one environment: what `ship`, `promote`, `rollback`, `service restart` and `resume` share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pydantic import TypeAdapter

from manor.errors import ApplyFailed, NotRestored, UsageError
from manor.estate.layout import instance_name, short
from manor.estate.placement import instances_of
from manor.operations.chaos import Chaos, no_chaos
from manor.operations.engine import Beside, OnFailure, execute, nothing_beside
from manor.operations.events import Listener, silent
from manor.operations.leasing import hold
from manor.operations.planning import Result, create
from manor.operations.step import Planned, Step, StepKinds
from manor.operations.stop import Stop
from manor.rollout.blame import blame
from manor.rollout.composing import Asked
from manor.rollout.fleet import Fleet, SlotLetter
from manor.rollout.kinds import KINDS
from manor.rollout.live import LiveFleet
from manor.rollout.looking import look_at_instances
from manor.rollout.plan import InstanceNow, RolloutOrder, plan_rollout, total_seconds
from manor.rollout.probing import Prober
from manor.rollout.receipt import Gate
from manor.rollout.release import Release, make_release
from manor.rollout.returning import have_it_probed
from manor.rollout.room import hosts_without
from manor.rollout.story import told_end
from manor.rollout.wayback import Failure, plan_return
from manor.state import journal, operations, releases
from manor.state.journal import StepRow
from manor.state.leases import Lease
from manor.state.operations import NewOperation, Operation
from manor.state.store import Connection, Store
from manor.state.words import OperationState, Standing
from manor.workflows.artifacts import is_kept, require_file, require_kept
from manor.workflows.context import Context, has_place
from manor.workflows.probing import LocalProber
from manor.workflows.snapshots import context_at, keep_estate

ROLLOUT_KINDS: StepKinds[Fleet] = StepKinds(KINDS)
ORDER: TypeAdapter[RolloutOrder] = TypeAdapter(RolloutOrder)
REMOTE_BAKE_SECONDS = 600.0


AGAIN_KEY, GATES_KEY = "again", "gates"
GATES: TypeAdapter[tuple[Gate, ...]] = TypeAdapter(tuple[Gate, ...])


@dataclass(frozen=True)
class Rollout:
    """A rollout about to be carried out."""

    context: Context
    environment: str
    order: RolloutOrder
    fleet: LiveFleet
    again: str = ""
    """Why a release that failed here before is rolled out once more; empty: it had not failed."""
    gates: tuple[Gate, ...] = ()
    """The environment's gates as they stood when the release entered."""
    needs_file: bool = True
    """Not every host has the release unpacked."""


async def prepare_rollout(context: Context, environment: str, service: str, artifact: str, *, again: str = "") -> Rollout:
    """Return the rollout of an artifact under the present configuration. Raises UsageError for a burned release unless `again` says why."""
    declared = context.environment(environment).services.get(service)
    if declared is None:
        raise UsageError(f"{environment} has no service {service!r}")
    release = make_release(service, declared, artifact)
    await context.store.write(releases.add_release, service, artifact, release.manifest, at=context.store.clock.now())
    standing = await context.store.read(releases.standing_of, environment, service, release.id)
    if standing is not None and standing.standing is Standing.BURNED and not again:
        raise UsageError(f"release {release.short} failed in {environment} before ({standing.reason}); to try it once more add --again 'why'")
    is_burned = standing is not None and standing.standing is Standing.BURNED
    return replace(await rollout_of(context, environment, service, release), again=again if is_burned else "")


async def rollout_of(
    context: Context, environment: str, service: str, release: Release, *, is_return: bool = False, only: frozenset[str] = frozenset()
) -> Rollout:
    """Return the rollout of a release from what runs now, on all hosts or on some.

    Raises UsageError if the environment is not up, or the artifact is gone and a host needs it.
    """
    await require_up(context, environment)
    declared = context.environment(environment).services[service]
    every, known = await instances_now(context, environment, service)
    instances = tuple(now for now in every if now.host in only or not only)
    needs_file = await require_at_hand(context, environment, release, instances)
    certified = await context.store.read(releases.last_certified, environment, service)
    view = context.wiring(environment).service(service)
    local = all(host.address is None for host in context.environment(environment).hosts.values())
    default_bake = 0.0 if local else REMOTE_BAKE_SECONDS
    order = RolloutOrder(
        service=service,
        release=release.short,
        instances=instances,
        rules=declared.rollout,
        health=declared.health,
        drain_seconds=view.drain_seconds,
        bake_seconds=declared.rollout.bake if declared.rollout.bake is not None else default_bake,
        certified=short(certified.id) if certified else "",
        is_return=is_return,
        beside=len(every) - len(instances),
        probe_period_seconds=LocalProber(context, environment, service).period_seconds(),
    )
    returned_to = [await load_release(context, certified.id)] if certified else []
    catalog = {entry.short: entry for entry in (release, *known, *returned_to)}
    return Rollout(context, environment, order, make_fleet(context, environment, service, catalog), needs_file=needs_file)


async def require_at_hand(context: Context, environment: str, release: Release, instances: Sequence[InstanceNow]) -> bool:
    """Tell whether a rollout counts on the release's artifact, which is there; without it every host has the release unpacked. Raises UsageError."""
    if is_kept(context.store.folder, release.artifact):
        return True
    site = context.site(environment, release.service)
    if not instances or await hosts_without(site, release.service, release.short, (now.host for now in instances)):
        await require_kept(context, release.artifact)
    return False


async def require_up(context: Context, environment: str) -> None:
    """Raise UsageError if an environment has local hosts and no place on this machine: nothing runs there."""
    if not await has_place(context, environment):
        raise UsageError(f"{environment} is not up; first `manor up -e {environment}`")


def make_fleet(context: Context, environment: str, service: str, catalog: dict[str, Release]) -> LiveFleet:
    """Return the real fleet of a service."""
    site = context.site(environment, service)
    prober: Prober = LocalProber(context, environment, service)
    return LiveFleet(site, service, catalog, context.store.folder.artifacts, prober)


async def instances_now(context: Context, environment: str, service: str) -> tuple[tuple[InstanceNow, ...], list[Release]]:
    """Return each instance with its active slot, and the releases that slots hold."""
    rows = await context.store.read(releases.slots, environment, service)
    held = {(row.instance, str(row.slot)): row.release for row in rows if row.release}
    known = [await load_release(context, identifier) for identifier in sorted(set(held.values()))]
    fleet = replace(make_fleet(context, environment, service, {release.short: release for release in known}), patience_seconds=0.0)
    slots: tuple[SlotLetter, ...] = ("a", "b") if context.environment(environment).services[service].rollout.strategy == "rolling" else ("a",)
    found = await look_at_instances(fleet, service, instances_of(context.environment(environment), service), slots)
    return tuple(replace(now, release=short(held.get((instance_name(service, now.host), now.active or ""), ""))) for now in found), known


async def load_release(context: Context, identifier: str) -> Release:
    """Return a release from the store."""
    row = await context.store.read(releases.get_release, identifier)
    return Release(row.service, row.artifact, row.manifest)


def is_done(rollout: Rollout) -> bool:
    """Tell whether every instance serves the release already."""
    order = rollout.order
    return (
        bool(order.instances) and all(now.active is not None and now.release == order.release for now in order.instances) and order.certified == order.release
    )


@dataclass(frozen=True)
class Carrying:
    """How an operation is carried out: who hears of it, who can stop it, where it dies in tests."""

    actor: str
    tell: Listener = silent
    stop: Stop | None = None
    chaos: Chaos = no_chaos
    wait_seconds: float = 0.0


async def carry_out_rollout(rollout: Rollout, carrying: Carrying, verb: str, delivery: str = "") -> Result | None:
    """Carry a rollout out as an operation under the service's lease; None: while it waited for the lease somebody else did it. Raises Busy, FencedOff."""
    context, environment, service = rollout.context, rollout.environment, rollout.order.service
    keep_estate(context)
    async with hold(context.store, f"{environment}/{service}", wait_seconds=carrying.wait_seconds) as lease:
        await context.store.read(operations.require_none_unfinished, f"{environment}/{service}")
        was_done, rollout = is_done(rollout), await looked_at_again(rollout)
        if is_done(rollout) and not was_done:
            return None
        steps = plan_rollout(rollout.order)
        new = NewOperation(
            verb,
            environment,
            service,
            actor=carrying.actor,
            estate_digest=context.estate.digest,
            arguments=write_arguments(rollout.order, rollout.again, rollout.gates),
            deadline=context.store.clock.now() + total_seconds(steps),
            delivery=delivery,
        )
        operation = await create(context.store, new, steps, ROLLOUT_KINDS, lease, partial(require_at_that_moment, rollout))
        return await run_operation(rollout, operation, lease, carrying)


def require_at_that_moment(rollout: Rollout, connection: Connection) -> None:
    """Raise UsageError if the artifact that a rollout counts on went since it was looked at: retention moves files in a transaction too."""
    if rollout.needs_file:
        require_file(connection, rollout.context.store.folder, rollout.fleet.catalog[rollout.order.release].artifact)


async def looked_at_again(rollout: Rollout) -> Rollout:
    """Return the rollout as it is to be now that nobody else can change what it starts from."""
    order = rollout.order
    release, only = rollout.fleet.catalog[order.release], frozenset(now.host for now in order.instances) if order.beside else frozenset[str]()
    now = await rollout_of(rollout.context, rollout.environment, order.service, release, is_return=order.is_return, only=only)
    return replace(now, again=rollout.again, gates=rollout.gates)


def write_arguments(order: RolloutOrder, again: str = "", gates: tuple[Gate, ...] = ()) -> str:
    """Return the arguments of a rollout's operation: its order and, beside it, what was decided before. Readers of the order alone pass over the rest."""
    beside = {AGAIN_KEY: again, GATES_KEY: GATES.dump_python(gates, mode="json")}
    return json.dumps({**ORDER.dump_python(order, mode="json"), **{key: value for key, value in beside.items() if value}})


def read_asked(arguments: str) -> Asked:
    """Return what was decided before a rollout's first step."""
    found = json.loads(arguments)
    return Asked(str(found.get(AGAIN_KEY, "")), GATES.validate_python(found.get(GATES_KEY, ())))


async def run_operation(rollout: Rollout, operation: Operation, lease: Lease, carrying: Carrying, back: str = "", beside: Beside = nothing_beside) -> Result:
    """Execute, or go on with, a rollout's operation; a failure turns it round, and so does `back`, which says why; `beside` is written with its end."""
    return await execute(
        rollout.context.store,
        operation.id,
        rollout.fleet,
        ROLLOUT_KINDS,
        lease,
        on_failure=turning_round(rollout.context.store, rollout.order, back),
        on_return=partial(have_it_probed, rollout.context.store, rollout.order.service),
        tell=carrying.tell,
        stop=carrying.stop,
        chaos=carrying.chaos,
        back=back,
        beside=beside,
    )


def turning_round(store: Store, order: RolloutOrder, back: str = "") -> OnFailure[Fleet]:
    """Return what plans the way back from the steps that were begun; where nothing failed, for the reason `back`, which is no fault of the release."""

    async def plan(operation: Operation, failed: Sequence[StepRow], ports: Fleet) -> Sequence[Planned[Fleet]] | None:
        rows = await store.read(journal.steps, operation.id)
        if back and not failed:
            return plan_wished_return(order, rows, back)
        return plan_return(order, begun_forward(rows), await blame(order, rows, ports, ROLLOUT_KINDS, operation.deadline))

    return plan


def plan_wished_return(order: RolloutOrder, rows: Iterable[StepRow], why: str) -> list[Planned[Fleet]]:
    """Return the way back of a rollout that has not failed and is not to be finished: its release is not blamed."""
    return plan_return(order, begun_forward(rows), Failure(why, is_of_release=False, spared=why))


def begun_forward(rows: Iterable[StepRow]) -> list[Step[Fleet]]:
    """Return the steps of the forward plan that were begun."""
    return [ROLLOUT_KINDS.decode(row) for row in rows if row.intent_at is not None and row.plan == 0]


async def is_certified_by(store: Store, operation: Operation) -> bool:
    """Tell whether a rollout has certified its release: all that is left of it is to end."""
    lines = await store.read(releases.certifications, operation.environment, operation.service)
    return any(line.operation == operation.id and line.standing is Standing.CERTIFIED for line in lines)


async def resumed_rollout(context: Context, operation: Operation) -> Rollout:
    """Return the rollout that an operation carries out, from its own arguments and the estate it was begun with."""
    order = ORDER.validate_json(operation.arguments)
    then = context_at(context, operation.estate_digest)
    names = {order.release, order.certified, *(now.release for now in order.instances)} - {""}
    catalog = {name: await load_release(context, name) for name in names}
    return Rollout(then, operation.environment, order, make_fleet(then, operation.environment, order.service, catalog))


def require_done(result: Result) -> None:
    """Raise what the operation's end means for the exit code, told in one sentence."""
    operation = result.operation
    if operation.state not in (OperationState.REVERTED, OperationState.FAILED):
        return result.raise_unless_done()
    told = told_end(ORDER.validate_json(operation.arguments), operation.environment, operation.state, result.steps, operation.id)
    raise ApplyFailed(told) if operation.state is OperationState.REVERTED else NotRestored(told)
