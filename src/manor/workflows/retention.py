"""Removes what nobody needs any more: releases on hosts, recordings of probes, artifacts, files of runs (docs/controller.md, retention).

Invariant: what runs, what a rollback returns to and receipts are never removed; a removed release is placed again from its artifact.
Invariant: one thing that can't be removed keeps no other from its turn, and what is left of it is tried again by each pass.
Invariant: a service is looked at under its lease and with nothing of it unfinished; the audit has the line before anything is gone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from manor.errors import FencedOff, ManorError, NotOurs, NotRestored, Unreachable
from manor.estate.layout import short
from manor.execution.durable import is_rest, remove_each, told_stays
from manor.execution.guard import Guard
from manor.execution.local import LocalRunner, in_thread
from manor.execution.values import Effect, HostPath, Remove, Touch
from manor.reconcile.site import Site, fence
from manor.state import audit, operations, receipts, releases
from manor.state.leases import Lease
from manor.workflows.context import Context
from manor.workflows.housekeeping import environments_up
from manor.workflows.retaining_artifacts import clean_artifacts
from manor.workflows.retaining_runs import clean_runs
from manor.workflows.tidying import ACTOR, DAY, PARTLY, REMOVED, STAYS, VERB, empty, when_free

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
        return [f"{name}: not all could be done: {error}"]


async def clean_hosts(context: Context) -> list[str]:
    """Remove old releases from hosts; a service that fails keeps no other from its turn."""
    said = []
    for environment in await environments_up(context):
        for service in context.environment(environment).services:
            said += await on_its_own(f"{environment}/{service}: releases", partial(clean_service, context, environment, service))
    return list(dict.fromkeys(said))


async def clean_service(context: Context, environment: str, service: str) -> list[str]:
    """Remove a service's old releases from its hosts."""
    site = context.site(environment, service)
    due, silent = await due_releases(site, service)
    return silent + (await when_free(context.store, [site.lease], partial(remove_releases, site, service)) if due else [])


async def clean_recordings(context: Context) -> list[str]:
    """Remove old recordings of probes, and what earlier removals left of some; one that can't be removed keeps no other from its turn."""
    said = []
    for operation in await due_recordings(context):
        work = partial(when_free, context.store, [operation.lease], partial(remove_recording, context, operation))
        said += await on_its_own(f"{operation.lease}: recording of the probe of {operation.id}", work)
    return said + await in_thread(partial(remove_rests, recordings(context)))


@dataclass(frozen=True)
class DueOn:
    """What lies on a host for nothing."""

    releases: tuple[str, ...]
    rests: tuple[str, ...] = ()
    """Hidden folders that a removal, or whoever was killed in the middle of an act, left; under the lease nobody works in them."""


async def due_releases(site: Site, service: str) -> tuple[dict[str, DueOn], list[str]]:
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
            found[name] = DueOn(superfluous(there, known, spared), tuple(filter(is_rest, there)))
    return {name: due for name, due in found.items() if due.releases or due.rests}, silent


def superfluous(there: Iterable[str], known: Sequence[str], spared: set[str]) -> tuple[str, ...]:
    """Return what lies there beyond the newest ones and those spared; `known` is newest first. What the store does not know is left alone."""
    present = set(there)
    ordered = [release for release in known if release in present]
    return tuple(release for release in ordered[KEPT_RELEASES:] if release not in spared)


async def remove_releases(site: Site, service: str, held: Sequence[Lease]) -> list[str]:
    """Remove them, looked for anew under the lease. A host that is not ours to change, does not answer or fails keeps its own."""
    found, said = await due_releases(site, service)
    for name, due in found.items():
        told = f"{name}: releases {', '.join(due.releases)} of {service}"
        try:
            await fence(site.hosts[name], site.runners[name], site.state_id, site.lease, held[0].token)
            if due.releases:
                await note(site, told, REMOVED)
            said += await remove_on(site, service, name, due)
        except FencedOff:
            raise
        except ManorError as error:
            said.append(f"{site.lease}: {told} stay: {error}")
    return said


async def remove_on(site: Site, service: str, name: str, due: DueOn) -> list[str]:
    """Remove one thing after the other on a host; return what went, and what stays or went in part, and why. A host that gives no answer is left alone."""
    gone, said = list[str](), list[str]()
    for number, release in enumerate(due.releases):
        told = f"{name}: release {release} of {service}"
        try:
            is_part, stays = await remove_one(site, service, name, release)
        except Unreachable as error:
            told = f"{name}: releases {', '.join(due.releases[number:])} of {service}"
            await note(site, told, f"{STAYS}{error}")
            return [*told_gone(site, service, name, gone), *said, f"{site.lease}: {told} stay: {error}"]
        if not stays:
            gone.append(release)
            continue
        await note(site, told, f"{PARTLY if is_part else ''}{STAYS}{stays}")
        said.append(f"{site.lease}: {told} {'was removed in part, the rest stays' if is_part else 'stays'}: {stays}")
    rests = [stays for rest in due.rests if (stays := (await remove_one(site, service, name, rest))[1])]
    return [*told_gone(site, service, name, gone), *said, *(f"{site.lease}: {name}: {stays}" for stays in rests)]


def told_gone(site: Site, service: str, name: str, gone: Sequence[str]) -> list[str]:
    """Return in words which releases went from a host."""
    return [f"{site.lease}: removed {name}: releases {', '.join(gone)} of {service}"] if gone else []


async def remove_one(site: Site, service: str, name: str, what: str) -> tuple[bool, str]:
    """Remove a release, or a rest of one; return whether only a part of it went, and why the rest did not, empty: all went. Raises FencedOff, Unreachable."""
    try:
        await site.runners[name].change([Remove(site.hosts[name].layout.release(service, what), Touch(f"service/{service}", Effect.INCLUDE))])
    except (FencedOff, Unreachable):
        raise
    except ManorError as error:
        return isinstance(error, NotRestored), str(error)
    return False, ""


async def note(site: Site, told: str, after: str) -> None:
    """Write a line about a service's releases into the audit."""
    await site.store.write(audit.record, ACTOR, VERB, site.lease, at=site.store.clock.now(), before=told, after=after)


def recordings(context: Context) -> Path:
    """Return where the probes' recordings are, by operation."""
    return context.store.folder.probes


def remove_rests(folder: Path) -> list[str]:
    """Remove what removals left hidden in a folder in which nothing else has such names; return what stays, in words."""
    rests = sorted(path for path in folder.iterdir() if is_rest(path.name)) if folder.is_dir() else []
    return [f"{rest}: {told_stays(stays)}" for rest in rests if (stays := remove_each(rest))]


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
    """Remove what the probe of a rollout wrote down. What of it can't be removed is out of its place all the same, and tried again by each pass."""
    told = f"recording of the probe of {operation.id}"
    record = partial(audit.record, actor=ACTOR, verb=VERB, object=operation.lease, at=context.store.clock.now(), before=told, operation=operation.id)
    await context.store.write(partial(record, after=REMOVED))
    try:
        await LocalRunner("controller", Guard("controller")).change([Remove(HostPath(recordings(context) / operation.id))])
    except ManorError as error:
        is_part = isinstance(error, NotRestored)
        await context.store.write(partial(record, after=f"{PARTLY if is_part else ''}{STAYS}{error}"))
        return [f"{operation.lease}: the {told} {'was removed in part, the rest stays' if is_part else 'stays'}: {error}"]
    return [f"{operation.lease}: removed the {told}"]
