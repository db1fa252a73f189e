"""What a controller does between operations: revive supervisors, rotate logs (docs/controller.md).

Invariant: only environments that are up are touched; an operation under way is never disturbed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from manor.errors import Busy, FencedOff, NotOurs, Unreachable
from manor.execution.base import Runner
from manor.execution.detached import identity_in, is_alive
from manor.execution.values import Command, Effect, HostPath, Remove, Touch
from manor.observe.hosts import observe_programs
from manor.operations.leasing import hold
from manor.reconcile.desired import DesiredHost, DesiredTier
from manor.reconcile.parts import reopen_part
from manor.reconcile.site import Site
from manor.reconcile.supervising import start_supervisor
from manor.rollout.balancing import Balancing
from manor.state import operations, places
from manor.workflows.applying import question_of
from manor.workflows.context import Context
from manor.workflows.ending_hosts import unfinished_down

LARGEST_LOG_BYTES = 64 * 1024 * 1024
KEPT_LOGS = 5
TOO_LARGE = 'for file do [ ! -f "$file" ] || [ "$(stat -c %s -- "$file")" -lt "$LARGEST" ] || echo "$file"; done'
SHIFT = 'set -e; i=$2; while [ "$i" -gt 1 ]; do j=$((i - 1)); [ ! -e "$1.$j" ] || mv -f "$1.$j" "$1.$i"; i=$j; done'
RENAME = SHIFT + '; mv "$1" "$1.1"'
COPY = SHIFT + '; cp -p "$1" "$1.1.new"; mv "$1.1.new" "$1.1"; : > "$1"'


async def revive(context: Context) -> list[str]:
    """Start the supervisors that died on hosts of environments that are up; return what was done, in words.

    The lease is taken only where there is something to do, so that nobody else finds it held for a mere look.
    """
    said = []
    for name in await environments_up(context):
        if await dead_supervisors(context.site(name)):
            try:
                async with hold(context.store, name):
                    is_still_up = name in await environments_up(context)
                    said += await revive_environment(context.site(name), name) if is_still_up else []
            except Busy:
                continue
    return said


async def environments_up(context: Context) -> list[str]:
    """Return the declared environments that have their place on this machine and are not being taken down."""
    known = {place.name for place in await context.store.read(places.environments)}
    return [name for name in context.estate.environments if name in known and await unfinished_down(context.store, name) is None]


async def revive_environment(site: Site, name: str) -> list[str]:
    """Start the supervisors of an environment that do not answer, where an apply has been."""
    said = []
    for host in await dead_supervisors(site):
        await start_supervisor(host, site.runners[host.name])
        said.append(f"{name}/{host.name}: {host.supervisor.name} was gone and runs again")
    return said


async def dead_supervisors(site: Site) -> list[DesiredHost]:
    """Return the hosts where an apply has been and the supervisor does not answer."""
    found = []
    for host in site.hosts.values():
        runner = site.runners[host.name]
        if await runner.digest([host.layout.loaded("supervisor")]) and await observe_programs(question_of(host), runner) is None:
            found.append(host)
    return found


async def keep_traffic(context: Context) -> list[str]:
    """Have what a person took out of traffic stay out when its balancer comes back; return what was written, in words."""
    said = []
    for environment in await environments_up(context):
        site = context.site(environment)
        for service in context.environment(environment).services:
            balancing = Balancing(replace(site, lease=f"{environment}/{service}"), service, patience_seconds=0.0)
            due = await balancing.forgetful()
            if due and await write_traffic(context, balancing):
                said.append(f"{balancing.site.lease}: {', '.join(f'{host} {key}' for host, key in due)} will come back with the traffic as it is now")
    return said


async def write_traffic(context: Context, balancing: Balancing) -> bool:
    """Write it under the service's lease, unless that is held or something under it is unfinished; tell whether it was written."""
    try:
        async with hold(context.store, balancing.site.lease) as lease:
            if await context.store.read(operations.unfinished, balancing.site.lease):
                return False
            await balancing.keep(lease.token)
    except FencedOff:
        raise
    except (Busy, NotOurs, Unreachable):
        return False
    return True


async def rotate_logs(context: Context) -> list[str]:
    """Rotate logs that have grown too large; return what was done, in words."""
    said = []
    for name in await environments_up(context):
        site = context.site(name)
        for host in site.hosts.values():
            said += await rotate_host(host, site.runners[host.name])
    return said


async def rotate_host(host: DesiredHost, runner: Runner) -> list[str]:
    """Rotate one host's logs, each as an act on the tier or service that writes it."""
    access = {tier.node.folders.access_log: tier for tier in host.tiers}
    subjects = {program.log: program.subject for program in host.supervised.programs} | {path: tier.node.subject for path, tier in access.items()}
    said = []
    for subject in dict.fromkeys(subjects.values()):
        for path in await too_large(runner, [path for path, of in subjects.items() if of == subject], subject):
            await (rotate_access(access[path], runner, path) if path in access else shift(runner, path, COPY, subject))
            said.append(f"{host.name}: rotated {path}")
    return said


async def rotate_own_logs(context: Context, runner: Runner) -> list[str]:
    """Rotate the log of the controller that `up` started, and remove what starts long ago left; return what was done, in words."""
    starts = sorted(path for path in own_folder(context).glob("*") if path.is_dir())
    said = []
    for path in await too_large(runner, [HostPath(start / "log") for start in starts], ""):
        await shift(runner, path, COPY, "")
        said.append(f"controller: rotated {path}")
    for start in starts[:-KEPT_LOGS]:
        claimed = identity_in(start)
        if claimed is None or not is_alive(claimed):
            await runner.change([Remove(HostPath(start))])
            said.append(f"controller: removed {start}")
    return said


def own_folder(context: Context) -> Path:
    """Return where the starts of the controller are, a folder each."""
    return context.folder / "controller"


async def too_large(runner: Runner, paths: Iterable[HostPath], subject: str) -> list[HostPath]:
    """Return the logs over the limit that are ours to rotate: none of a tier or service of which no file may be changed."""
    touch = Touch(subject, Effect.INCLUDE)
    command = Command(("/bin/sh", "-c", TOO_LARGE, "sizes", *map(str, paths)), touch, env={"LARGEST": str(LARGEST_LOG_BYTES)})
    try:
        return [HostPath(line) for line in (await runner.run(command)).text.splitlines()]
    except NotOurs:
        return []


async def rotate_access(tier: DesiredTier, runner: Runner, path: HostPath) -> None:
    """Rotate a tier's access log the way that its product wants it."""
    way = tier.proxy.rotate(tier.node)
    if way == "copytruncate":
        await shift(runner, path, COPY, tier.node.subject)
        return
    await shift(runner, path, RENAME, tier.node.subject)
    if tier.node.theirs is not None:
        await reopen_part(tier, runner)
        return
    for act in way:
        await runner.carry_out(act)


async def shift(runner: Runner, path: HostPath, script: str, subject: str) -> None:
    """Move the older logs on and the present one to `.1`."""
    await runner.run(
        Command(("/bin/sh", "-c", script, "rotate", str(path), str(KEPT_LOGS)), Touch(subject, Effect.INCLUDE, paths=(path,)), timeout_seconds=120)
    )
