"""Take local environments down: programs and supervisors ended, sockets and addresses given back; files and state stay unless purged.

Invariant: nothing is ended before every lease that it needs is held.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from manor.errors import UsageError
from manor.operations.engine import execute
from manor.operations.leasing import hold
from manor.operations.planning import Result, create
from manor.state import places
from manor.state.leases import Lease
from manor.state.operations import NewOperation, Operation
from manor.workflows.context import Context
from manor.workflows.controlling import stop_controller
from manor.workflows.ending_hosts import DOWN_KINDS, VERB, LiveEnding, parts_of, plan_down, raise_unless_down, unfinished_down
from manor.workflows.left import end_left, left_applies
from manor.workflows.rolling import Carrying
from manor.workflows.snapshots import context_at, keep_estate
from manor.workflows.up import prefixed


@dataclass(frozen=True)
class Extent:
    """What is to be ended."""

    environments: tuple[str, ...]
    ends_controller: bool = False
    purges: bool = False


async def take_down(context: Context, extent: Extent, carrying: Carrying) -> dict[str, Result]:
    """End the environments that are up, as one operation each, and return how these ended.

    Raises UsageError for a purge that others would miss, Busy while somebody changes one of them: then nothing has been ended.
    Raises Refused, Paused, NotRestored.
    """
    if extent.purges:
        require_no_other(await places_of(context), extent.environments)
    keep_estate(context)
    async with AsyncExitStack() as leases:
        held = {
            name: await leases.enter_async_context(hold(context.store, name, wait_seconds=carrying.wait_seconds))
            for name in extent.environments
            if name in await places_of(context)
        }
        if extent.ends_controller:
            await stop_controller(context)
        if extent.purges:
            await context.store.have_alone()
            require_no_other(await places_of(context), extent.environments)
        results = {name: await end_environment(context, name, lease, carrying) for name, lease in held.items()}
    for result in results.values():
        raise_unless_down(result)
    return results


async def places_of(context: Context) -> tuple[str, ...]:
    """Return the environments that have their place on this machine, declared or not."""
    return tuple(place.name for place in await context.store.read(places.environments))


def require_no_other(up: Iterable[str], named: Iterable[str]) -> None:
    """Raise UsageError if the state folder is needed by other environments than those named."""
    others = sorted(set(up) - set(named))
    if others:
        raise UsageError(f"--purge removes the whole state, and {', '.join(others)} is still up: take that down too, or leave --purge out")


async def end_environment(context: Context, name: str, lease: Lease, carrying: Carrying) -> Result:
    """End one environment: go on with the end that was begun, else begin one. An apply that somebody left ends with it."""
    for left in await left_applies(context.store, name):
        await end_left(context, left, lease, carrying, "the environment was taken down")
    begun = await unfinished_down(context.store, name)
    if begun is None:
        site = context.site(name)
        new = NewOperation(VERB, name, actor=carrying.actor, estate_digest=context.estate.digest, arguments=json.dumps({"environment": name}))
        begun = await create(context.store, new, plan_down(tuple(site.hosts), parts_of(site)), DOWN_KINDS, lease)
    return await carry_out_down(context, begun, lease, carrying)


async def carry_out_down(context: Context, operation: Operation, lease: Lease, carrying: Carrying) -> Result:
    """Execute, or go on with, the end of an environment under the estate that it was begun with. One host that does not end keeps none of the others."""
    ending = LiveEnding(context_at(context, operation.estate_digest), operation.environment)
    tell = prefixed(carrying.tell, operation.environment)
    hosts = len(ending.context.environment(operation.environment).hosts)
    return await execute(context.store, operation.id, ending, DOWN_KINDS, lease, tell=tell, stop=carrying.stop, chaos=carrying.chaos, budget=hosts)


async def finish_downs(context: Context, environments: Iterable[str], carrying: Carrying) -> None:
    """Bring ends that were begun to their end, before anything is brought up again. Raises Busy, Refused, Paused, NotRestored."""
    for name in environments:
        if await unfinished_down(context.store, name) is None:
            continue
        async with hold(context.store, name, wait_seconds=carrying.wait_seconds) as lease:
            begun = await unfinished_down(context.store, name)
            if begun is not None:  # whoever had the lease may have ended it
                raise_unless_down(await carry_out_down(context, begun, lease, carrying))


def give_machine_back(context: Context) -> None:
    """Give the addresses of this state folder back to the machine."""
    context.machine.release(context.folder)
    for environment in context.estate.environments.values():
        for host in environment.hosts.values():
            parent = Path(context.layout(environment, host).sockets).parent
            if parent.exists() and not any(parent.iterdir()):
                parent.rmdir()


def purge_state(context: Context) -> None:
    """Remove the state folder with everything in it: releases, receipts, audit. For demonstrations. Nobody else has it open."""
    folder = context.folder
    context.store.close()
    shutil.rmtree(folder)
