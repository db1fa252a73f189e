"""Takes a service out of an environment: drained, stopped, its files and its rows gone (docs/verbs/service.md).

Invariant: only what the estate no longer declares is removed, and under the estate that declared it last.
Invariant: `shared/<service>` stays: data is never removed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from manor.errors import ManorError, UsageError
from manor.estate.layout import HostLayout, instance_name
from manor.execution.values import Effect, HostPath, Remove, Touch
from manor.observe.hosts import observe_programs
from manor.operations.engine import execute
from manor.operations.leasing import hold
from manor.operations.planning import Result, create
from manor.operations.step import Evidence, Here, Holds, Planned, Step, StepKinds
from manor.reconcile.site import fence
from manor.rollout.fleet import SlotLetter
from manor.rollout.live import LiveFleet
from manor.rollout.moving import DrainSlot
from manor.rollout.stopping import StopSlot
from manor.state import operations, releases
from manor.state.leases import Lease
from manor.state.operations import NewOperation, Operation
from manor.workflows.applying import question_of
from manor.workflows.context import Context
from manor.workflows.rolling import Carrying, make_fleet
from manor.workflows.snapshots import context_at

VERB = "remove"


@dataclass(frozen=True)
class ForgetInstance(Step[LiveFleet]):
    """Remove an instance's slots, releases and rows; its program must not run."""

    service: str
    host: str
    slot: SlotLetter
    release: str

    kind = "forget"
    precondition = "no program of the service runs on the host"
    postcondition = "its slots, releases and rows are gone; shared data stays"
    compensation = "none: a rollout puts the service there again, once it is declared again"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.service}: files and rows go; shared data stays"

    async def observe(self, ports: LiveFleet, here: Here) -> Holds:
        """Tell whether none of its files and rows is left."""
        paths, environment = paths_of(ports.site.hosts[self.host].layout, self.service), ports.site.wiring.environment.name
        files = await ports.site.runners[self.host].digest(paths)
        slots = await ports.site.store.read(releases.slots, environment, self.service)
        deployed = await ports.site.store.read(releases.deployments, environment, self.service)
        known = {*(row.instance for row in slots), *(row.instance for row in deployed)}
        return Holds.pre() if files or instance_name(self.service, self.host) in known else Holds.post("gone")

    async def act(self, ports: LiveFleet, here: Here) -> Evidence:
        """Remove them. Raises ManorError if a program of the service still runs."""
        host, runner = ports.site.hosts[self.host], ports.site.runners[self.host]
        await fence(host, runner, ports.site.state_id, ports.site.lease, here.token)
        names = {f"{self.service}-a", f"{self.service}-b"}
        alive = [view.name for view in await observe_programs(question_of(host), runner) or () if view.name in names and view.pid]
        if alive:
            raise ManorError(f"{self.host}: {', '.join(alive)} still runs; nothing was removed")
        touch = Touch(subject=f"service/{self.service}", effect=Effect.INCLUDE)
        await runner.change([Remove(path, touch) for path in paths_of(host.layout, self.service)])
        environment = ports.site.wiring.environment.name
        await ports.site.store.write(releases.forget_instance, environment, self.service, instance_name(self.service, self.host), here.operation, here.token)
        return "gone"


REMOVE_KINDS: StepKinds[LiveFleet] = StepKinds((DrainSlot, StopSlot, ForgetInstance))


def paths_of(layout: HostLayout, service: str) -> tuple[HostPath, ...]:
    """Return what of a service lies on a host, without its shared data and its logs."""
    return (layout.slot(service, "a").parent, layout.release(service, "any").parent)


def plan_removal(fleet: LiveFleet, hosts: Sequence[str]) -> list[Planned[LiveFleet]]:
    """Return the steps: every slot drained, then stopped, then its files and rows gone."""
    slots: list[tuple[str, SlotLetter]] = [(server.host, server.slot) for server in fleet.view.servers if server.host in hosts]
    service, seconds = fleet.service, fleet.view.drain_seconds
    drains = [
        DrainSlot(service, host, slot, "", others_needed=0, drain_seconds=seconds, settle_seconds=0.0, policy="cut", timeout_seconds=seconds + 60)
        for host, slot in slots
    ]
    stops = [StopSlot(service, host, slot, "", idle_seconds=seconds) for host, slot in slots]
    forgets = [ForgetInstance(service, host, "a", "") for host in hosts]
    waves: tuple[Sequence[Step[LiveFleet]], ...] = (drains, stops, forgets)
    return [Planned(stage, step) for stage, wave in enumerate(waves) for step in wave]


@dataclass(frozen=True)
class Removal:
    """A removal about to be carried out."""

    fleet: LiveFleet
    hosts: tuple[str, ...]
    estate_digest: str


def require_undeclared(context: Context, service: str, environment: str) -> None:
    """Raise UsageError while a service is declared."""
    if service in context.environment(environment).services:
        raise UsageError(f"{environment} still declares {service}; take it out of the estate, note it under `removed: {{{service}: <date>}}`, then remove it")


async def prepare_removal(context: Context, service: str, environment: str) -> Removal | None:
    """Return what removes a service; None if there is nothing of it. Raises UsageError while it is declared."""
    require_undeclared(context, service, environment)
    deployed = await context.store.read(releases.deployments, environment, service)
    if not deployed:
        return None
    fleet, digest = await former_fleet(context, environment, service)
    return Removal(fleet, tuple(sorted({row.host for row in deployed} & set(fleet.site.hosts))), digest)


async def begin_removal(context: Context, service: str, environment: str, carrying: Carrying) -> Result | None:
    """Begin a removal and carry it out; None if there is nothing of the service. Raises UsageError while it is declared, Busy, and what the steps raise."""
    removal = await prepare_removal(context, service, environment)
    if removal is None:
        return None
    arguments = json.dumps({"hosts": removal.hosts})
    new = NewOperation(VERB, environment, service, actor=carrying.actor, estate_digest=removal.estate_digest, arguments=arguments)
    async with hold(context.store, f"{environment}/{service}", wait_seconds=carrying.wait_seconds) as lease:
        await context.store.read(operations.require_none_unfinished, f"{environment}/{service}")
        operation = await create(context.store, new, plan_removal(removal.fleet, removal.hosts), REMOVE_KINDS, lease)
        return await carry_out_removal(context, operation, removal.fleet, lease, carrying)


async def former_fleet(context: Context, environment: str, service: str) -> tuple[LiveFleet, str]:
    """Return the fleet as the estate had it that declared the service last, and that estate's digest. Raises UsageError if it was not kept."""
    for operation in await context.store.read(operations.recent, environment, service):
        if operation.verb != VERB and operation.estate_digest:
            then = context_at(context, operation.estate_digest)
            return make_fleet(then, environment, service, {}), operation.estate_digest
    raise UsageError(f"no operation knows how {service} ran in {environment}; stop its programs by hand and run `manor apply --allow-destroy`")


async def carry_out_removal(context: Context, operation: Operation, fleet: LiveFleet, lease: Lease, carrying: Carrying) -> Result:
    """Execute, or go on with, a removal."""
    return await execute(context.store, operation.id, fleet, REMOVE_KINDS, lease, tell=carrying.tell, stop=carrying.stop, chaos=carrying.chaos)


async def resume_removal(context: Context, operation: Operation, lease: Lease, carrying: Carrying) -> Result:
    """Go on with a removal under the estate that it was begun with."""
    then = context_at(context, operation.estate_digest)
    return await carry_out_removal(context, operation, make_fleet(then, operation.environment, operation.service, {}), lease, carrying)
