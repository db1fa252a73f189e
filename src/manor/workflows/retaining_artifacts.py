"""Which artifacts the store keeps (docs/controller.md, retention).

Invariant: what a host has, what serves, what a rollback returns to, what is on its way or can be done again has its artifact.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from manor.estate.layout import HostLayout, short
from manor.execution.values import HostPath
from manor.state import deliveries, operations, releases
from manor.state.folder import StateFolder
from manor.state.leases import lease_name
from manor.state.store import Connection
from manor.workflows.context import Context
from manor.workflows.retaining_runs import artifacts_needed
from manor.workflows.tidying import DAY, Due, is_older, remove, when_free

KEPT_ARTIFACTS, KEPT_ARTIFACT_SECONDS = 10, 30 * DAY
"""So many of a service, and all that were built or handed in so recently."""
MOST_RELEASES = 100_000
NAME = re.compile(r"(?P<digest>[0-9a-f]{64})\.(tar|junit\.xml)")


async def clean_artifacts(context: Context) -> list[str]:
    """Move aside the artifacts that nobody needs, service by service, under its lease in every environment; return what was, in words."""
    store, folder = context.store, context.store.folder
    found = await store.read(services_with_files, folder)
    said = []
    for service in sorted(found):
        look = partial(due_artifacts, folder=folder, service=service, now=store.clock.now())
        if await store.read(look):
            said += await when_free(store, await leases_of(context, service), partial(remove, store, folder.artifacts, look))
    return said


async def leases_of(context: Context, service: str) -> list[str]:
    """Return the leases of a service, in the environments that declare it or ever had it."""
    declared = {name for name, environment in context.estate.environments.items() if service in environment.services}
    return [lease_name(name, service) for name in sorted(declared.union(await context.store.read(releases.environments_of, service)))]


def services_with_files(connection: Connection, folder: StateFolder) -> set[str]:
    """Return the services that have artifacts in the store; an empty one if there are files of which no row speaks."""
    owners = {artifact.digest: artifact.service for artifact in releases.artifacts(connection)}
    return {owners.get(digest, "") for digest in files_in(folder)}


def files_in(folder: StateFolder) -> dict[str, tuple[Path, ...]]:
    """Return the files of each artifact by its digest, its report after it; uploads and what is being written have other names."""
    found: dict[str, tuple[Path, ...]] = {}
    for path in sorted(folder.artifacts.iterdir(), key=lambda one: one.suffix != ".tar"):
        if match := NAME.fullmatch(path.name):
            found[match["digest"]] = (*found.get(match["digest"], ()), path)
    return found


def due_artifacts(connection: Connection, folder: StateFolder, service: str, now: float) -> list[Due]:
    """Return the artifacts of a service that nobody needs, oldest first; none while a delivery or an operation of it is unfinished.

    Without a service: files of which no row speaks, because whoever handed them in was killed.
    """
    rows = releases.artifacts(connection)
    files = files_in(folder)
    if not service:
        known = {row.digest for row in rows}
        return [due_of(digest, "nobody", paths) for digest, paths in files.items() if digest not in known and all_older(paths, now)]
    if deliveries.unfinished(connection, service) or is_being_changed(connection, service):
        return []
    mine = [row.digest for row in rows if row.service == service and row.digest in files]
    kept = {*mine[:KEPT_ARTIFACTS], *released(connection, folder, service), *artifacts_needed(connection, folder, now)}
    return [due_of(digest, service, files[digest]) for digest in reversed(mine) if digest not in kept and all_older(files[digest], now)]


def is_being_changed(connection: Connection, service: str) -> bool:
    """Tell whether an operation of a service is unfinished anywhere that it was ever in."""
    return any(operations.unfinished(connection, lease_name(name, service)) for name in releases.environments_of(connection, service))


def all_older(paths: Iterable[Path], now: float) -> bool:
    """Tell whether none was handed in or built lately, also not once more."""
    return all(is_older(path, now - KEPT_ARTIFACT_SECONDS) for path in paths)


def due_of(digest: str, service: str, paths: tuple[Path, ...]) -> Due:
    """Return an artifact as it is removed, with the report that came with it."""
    return Due(f"artifact/{digest}", f"files of artifact {digest[:12]} of {service}", paths)


def released(connection: Connection, folder: StateFolder, service: str) -> set[str]:
    """Return the artifacts of the releases that a slot or a host has or that a rollback returns to, in any environment, declared or not."""
    environments = releases.environments_of(connection, service)
    wanted = {short(slot.release) for name in environments for slot in releases.slots(connection, name, service)}
    wanted |= {short(target.id) for name in environments for target in releases.return_targets(connection, name, service)}
    wanted |= on_hosts(folder, service)
    return {row.artifact for row in releases.recent_releases(connection, service, MOST_RELEASES) if short(row.id) in wanted}


def on_hosts(folder: StateFolder, service: str) -> set[str]:
    """Return the short ids of what lies on the hosts of this machine, whether their environments are up or not."""
    layouts = [HostLayout(HostPath(root), HostPath(root)) for root in folder.hosts.glob("*/*/")]
    places = [Path(layout.release(service, "any").parent) for layout in layouts]
    return {path.name for place in places if place.is_dir() for path in place.iterdir()}
