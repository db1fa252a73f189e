"""Marks on servers that a rollout took out of traffic, and what guards did on their own (docs/rollout.md, marks with guards).

Invariant: a server counts as returned only while its mark was not renewed since: whoever goes on learns it first, then renews.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

from manor.estate.topology import TrafficState
from manor.execution.base import Runner
from manor.execution.values import Command, Detached, HostPath
from manor.integrations.proxies.base import Proxy
from manor.reconcile.desired import DesiredHost

SUFFIX = ".mark"


@dataclass(frozen=True)
class Mark:
    """A server is out of traffic for the time being, and who says so."""

    server: str
    operation: str
    renewed: float
    """When it was renewed last, UTC seconds since 1970; a guard sees only that it changes."""
    instead: tuple[str, ...] = ()
    """The servers that were admitted in its place."""


MARK: TypeAdapter[Mark] = TypeAdapter(Mark)


async def read_marks(runner: Runner, folder: HostPath) -> Mapping[str, Mark]:
    """Return the marks of one service on a balancer's host, by file."""
    paths = [folder / "marks" / name for name in await runner.listing(folder / "marks") if name.endswith(SUFFIX)]
    return {path.name: MARK.validate_json(text) for path, text in (await runner.read(paths)).items()}


async def read_record(runner: Runner, folder: HostPath) -> Mapping[str, float]:
    """Return for each mark that a guard ever acted on the renewal that had run out."""
    path = folder / "returned.json"
    text = (await runner.read([path])).get(path)
    return {name: entry["renewed"] for name, entry in json.loads(text).items()} if text else {}


async def returned_traffic(runner: Runner, folder: HostPath, proxy: Proxy) -> Mapping[str, TrafficState]:
    """Return the servers whose traffic a guard changed without anybody learning of it since, with the traffic that they have."""
    marks, record = await read_marks(runner, folder), await read_record(runner, folder)
    return traffic_after([mark for name, mark in marks.items() if record.get(name) == mark.renewed], proxy)


def traffic_after(returned: Iterable[Mark], proxy: Proxy) -> Mapping[str, TrafficState]:
    """Return what changes when servers return: they take traffic; where the product checks nothing, what failed in their place takes none."""
    marks = tuple(returned)
    failed = () if proxy.traits.switch_checks else tuple(server for mark in marks for server in mark.instead)
    return {**dict.fromkeys(failed, TrafficState.DRAIN), **{mark.server: TrafficState.READY for mark in marks}}


def program_in(folder: HostPath) -> Detached:
    """Return a guard by its folder, to ask or end it."""
    return Detached(folder.name, folder, Command(("true",)))


async def end_guards(host: DesiredHost, runner: Runner) -> None:
    """End every guard on a host; the marks stay for whoever goes on."""
    root = host.layout.guard("any").parent
    folders = [root / service / "programs" for service in await runner.listing(root)]
    for folder, names in (await runner.listings(folders)).items():
        for name in names:
            await runner.cancel(program_in(folder / name))
