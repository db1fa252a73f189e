"""Removes what nobody needs any more: releases on hosts, recordings of probes, artifacts, files of runs (docs/controller.md, retention).

Invariant: what runs, what a rollback returns to and receipts are never removed; a removed release is placed again from its artifact.
Invariant: a service is looked at under its lease and with nothing of it unfinished; the audit has the line before anything is gone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from manor.errors import FencedOff, ManorError, NotOurs, Unreachable
from manor.estate.layout import short
from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.execution.values import Effect, HostPath, Remove, Touch
from manor.reconcile.site import Site, fence
from manor.state import audit, operations, receipts, releases
from manor.state.leases import Lease
from manor.workflows.context import Context
from manor.workflows.housekeeping import environments_up
from manor.workflows.retaining_artifacts import clean_artifacts
from manor.workflows.retaining_runs import clean_runs
from manor.workflows.tidying import ACTOR, DAY, VERB, empty, when_free

KEPT_RELEASES = 10
"""The newest of a service on each host, beside those that are spared."""
KEPT_SECONDS = 30 * DAY
"""A probe's recording is kept so long after its rollout ended; the receipt says what it showed."""
MOST_RELEASES = 10_000


async def clean(context: Context) -> list[str]:
    """Remove what is due; return what was removed or could not be, in words. What somebody else has in hand is left for the next time.

    One part that fails keeps no other from its turn.
    """
    store = context.store
    parts: tuple[tuple[str, Callable[[], Awaitable[list[str]]]], ...] = (
        ("releases on hosts", partial(clean_hosts, context)),
        ("recordings of probes", partial(clean_recordings, context)),
        ("artifacts", partial(clean_artifacts, context)),
        ("files of runs", partial(clean_runs, store)),
        ("what was moved aside", partial(empty, [store.folder.artifacts, store.folder.runs])),
    )
    return [line for name, part in parts for line in await on_its_own(name, part)]


async def on_its_own(name: str, part: Callable[[], Awaitable[list[str]]]) -> list[str]:
    """Do one part of a pass; return what it says, or why it failed."""
    try:
        return await part()
    except (ManorError, OSError) as error:
        return [f"{name}: not all could be looked at: {error}"]


async def clean_hosts(context: Context) -> list[str]:
    """Remove old releases from hosts."""
    said = []
    for environment in await environments_up(context):
        for service in context.environment(environment).services:
            site = context.site(environment, service)
            due, silent = await due_releases(site, service)
            said += silent
            if due:
                said += await when_free(context.store, [site.lease], partial(remove_releases, site, service))
    return list(dict.fromkeys(said))


async def clean_recordings(context: Context) -> list[str]:
    """Remove old recordings of probes."""
    said = []
    for operation in await due_recordings(context):
        said += await when_free(context.store, [operation.lease], partial(remove_recording, context, operation))
    return said


async def due_releases(site: Site, service: str) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return which releases of a service lie on which host for nothing, and in words which hosts could not be looked at."""
    environment, store = site.wiring.environment.name, site.store
    known = [short(row.id) for row in await store.read(releases.recent_releases, service, MOST_RELEASES)]
    spared = {short(row.release) for row in await store.read(releases.slots, environment, service) if row.release}
    spared |= {short(target.id) for target in await store.read(releases.return_targets, environment, service)}
    found, silent = {}, []
    for name, host in site.hosts.items():
        try:
            there = await site.runners[name].listing(host.layout.release(service, "any").parent)
        except (NotOurs, Unreachable) as error:
            silent.append(f"{site.lease}: {name}: releases of {service} stay: {error}")
        else:
            found[name] = superfluous(there, known, spared)
    return {name: due for name, due in found.items() if due}, silent


def superfluous(there: Iterable[str], known: Sequence[str], spared: set[str]) -> tuple[str, ...]:
    """Return what lies there beyond the newest ones and those spared; `known` is newest first. What the store does not know is left alone."""
    present = set(there)
    ordered = [release for release in known if release in present]
    return tuple(release for release in ordered[KEPT_RELEASES:] if release not in spared)


async def remove_releases(site: Site, service: str, held: Sequence[Lease]) -> list[str]:
    """Remove them, looked for anew under the lease. A host that is not ours to change, does not answer or fails keeps its own."""
    found, said = await due_releases(site, service)
    for name, due in found.items():
        host, runner = site.hosts[name], site.runners[name]
        told = f"{name}: releases {', '.join(due)} of {service}"
        try:
            await fence(host, runner, site.state_id, site.lease, held[0].token)
            await site.store.write(audit.record, ACTOR, VERB, site.lease, at=site.store.clock.now(), before=told, after="removed")
            await runner.change([Remove(host.layout.release(service, release), Touch(f"service/{service}", Effect.INCLUDE)) for release in due])
        except FencedOff:
            raise
        except ManorError as error:
            said.append(f"{site.lease}: {told} stay: {error}")
        else:
            said.append(f"{site.lease}: removed {told}")
    return said


def recordings(context: Context) -> Path:
    """Return where the probes' recordings are, by operation."""
    return context.store.folder.probes


async def due_recordings(context: Context) -> list[operations.Operation]:
    """Return the rollouts whose recording is no longer needed: ended long ago, and their receipt is written."""
    folder, limit = recordings(context), context.store.clock.now() - KEPT_SECONDS
    found = []
    for name in sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []:
        row = await context.store.read(receipts.find, name)
        operation = await context.store.read(operations.get, name) if row else None
        if operation and operation.ended_at is not None and operation.ended_at < limit:
            found.append(operation)
    return found


async def remove_recording(context: Context, operation: operations.Operation, _held: Sequence[Lease]) -> list[str]:
    """Remove what the probe of a rollout wrote down."""
    told = f"recording of the probe of {operation.id}"
    await context.store.write(audit.record, ACTOR, VERB, operation.lease, at=context.store.clock.now(), before=told, after="removed", operation=operation.id)
    await LocalRunner("controller", Guard("controller")).change([Remove(HostPath(recordings(context) / operation.id))])
    return [f"{operation.lease}: removed the {told}"]
