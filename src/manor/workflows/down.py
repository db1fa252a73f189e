"""Take local environments down: programs and supervisors ended, sockets and addresses given back; files and state stay unless purged."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from manor.errors import CommandFailed, Unreachable
from manor.execution.base import Runner
from manor.execution.values import Effect, Remove, Touch
from manor.observe.hosts import observe_programs
from manor.operations.events import Event, Listener, What, silent
from manor.operations.leasing import hold
from manor.reconcile.desired import DesiredHost
from manor.reconcile.parts import withdraw
from manor.reconcile.returns import end_guards
from manor.reconcile.supervising import end_leftovers
from manor.state import operations, places
from manor.workflows.applying import question_of
from manor.workflows.context import Context
from manor.workflows.probing import LocalProber

MOST_OPERATIONS = 100


async def take_down(context: Context, environments: tuple[str, ...], tell: Listener = silent) -> None:
    """End every program and supervisor of the environments, under each one's lease."""
    known = {place.name for place in await context.store.read(places.environments)}
    for name in environments:
        if name not in known:
            continue
        site = context.site(name)
        await end_probes(context, name)
        async with hold(context.store, name):
            for key, host in site.hosts.items():
                await withdraw_parts(host, site.runners[key], tell, name, context)
            await asyncio.gather(*(end_host(host, site.runners[key], tell, name, context) for key, host in site.hosts.items()))
            await context.store.write(places.give_back, name)


async def end_probes(context: Context, environment: str) -> None:
    """Have the probes of an environment's rollouts end: an operation that was never gone on with leaves one behind."""
    for operation in await context.store.read(operations.recent, environment, None, (), MOST_OPERATIONS):
        if operation.service:
            await LocalProber(context, environment, operation.service).end(operation.id)


async def withdraw_parts(host: DesiredHost, runner: Runner, tell: Listener, environment: str, context: Context) -> None:
    """Take our files out of other people's programs, the outermost first, before anything behind them ends. Raises Refused, NotRestored."""
    for tier in (tier for tier in host.tiers if tier.node.theirs is not None):
        told = await withdraw(tier, runner, host.layout.operation("down") / tier.node.key, context.store.clock)
        if told:
            tell(Event(What.SAID, context.store.clock.now(), "down", f"{tier.node.key}: {told}", host=f"{environment}/{host.name}"))


async def end_host(host: DesiredHost, runner: Runner, tell: Listener, environment: str, context: Context) -> None:
    """End what runs on a host."""
    await end_guards(host, runner)
    if host.is_supervised and await observe_programs(question_of(host), runner) is not None:
        for act in host.supervisor.stop(host.supervised):
            try:
                host.supervisor.parse_done(act, await runner.carry_out(act))
            except (Unreachable, CommandFailed) as error:
                tell(Event(What.SAID, context.store.clock.now(), "down", str(error), host=f"{environment}/{host.name}"))
    if await has_wrapper(host, runner):
        await end_leftovers(host, runner, host.supervised.programs)
    touch = Touch(effect=Effect.INCLUDE)
    await runner.change([Remove(host.layout.sockets, touch), *(Remove(host.layout.loaded(tier.node.key), touch) for tier in host.tiers)])
    tell(Event(What.DONE, context.store.clock.now(), "down", "ended", host=f"{environment}/{host.name}", kind="down"))


async def has_wrapper(host: DesiredHost, runner: Runner) -> bool:
    """Tell whether anything can ever have been started on a host."""
    return host.layout.exec in await runner.digest([host.layout.exec])


def give_machine_back(context: Context) -> None:
    """Give the addresses of this state folder back to the machine."""
    context.machine.release(context.folder)
    for environment in context.estate.environments.values():
        for host in environment.hosts.values():
            parent = Path(context.layout(environment, host).sockets).parent
            if parent.exists() and not any(parent.iterdir()):
                parent.rmdir()


def purge_state(context: Context) -> None:
    """Remove the state folder with everything in it: releases, receipts, audit. For demonstrations."""
    folder = context.folder
    context.store.close()
    shutil.rmtree(folder)
