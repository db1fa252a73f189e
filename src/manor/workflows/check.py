"""Have every vendor's own checker judge what is rendered for it; nothing is changed on any host."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from manor.errors import Refused
from manor.estate.load import load_located
from manor.estate.model import Estate
from manor.estate.topology import TierNode
from manor.estate.wiring import tls_files
from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.execution.values import HostPath, MakeFolder, PutFile
from manor.reconcile.desired import DesiredHost, DesiredTier, certificate_files
from manor.reconcile.parts import judge_part, pasted_problems
from manor.reconcile.site import anyhow, with_parents
from manor.state.folder import StateFolder
from manor.workflows.context import Context, require_environment, state_folder
from manor.workflows.refusals import refuse_unrendered

AT_ONCE = max(2, os.cpu_count() or 2)


@dataclass(frozen=True)
class Accepted:
    """A tier whose files its own program accepted."""

    environment: str
    host: str
    tier: str
    product: str
    version: str


def check_offline(file: Path, environments: Iterable[str]) -> Estate:
    """Return the estate if Manor's own rules and every tier's renderer accept it. Raises InvalidEstate with everything that they do not."""
    loaded = load_located(file)
    names = tuple(environments) or tuple(loaded.estate.environments)
    for name in names:
        require_environment(loaded.estate, name)
    refuse_unrendered(loaded, file, StateFolder(state_folder(file)).hosts, names)
    return loaded.estate


async def check_tools(context: Context, environments: Iterable[str]) -> list[Accepted]:
    """Return what was accepted. Raises Refused with everything that was not."""
    limit = asyncio.Semaphore(AT_ONCE)
    names = tuple(environments)
    context.refuse_unrendered(names)
    tiers = [(name, host, tier) for name in names for host in context.desired(context.wiring(name)).values() for tier in host.tiers]
    with tempfile.TemporaryDirectory(prefix="manor-check-") as folder:
        # Numbers, not names: a socket's path has 107 bytes at most, and the real one is short.
        jobs = [check_one(*one, HostPath(folder) / str(number), limit) for number, one in enumerate(tiers)]
        found = await asyncio.gather(*jobs)
    problems = [problem for one in found if not isinstance(one, Accepted) for problem in one]
    if problems:
        raise Refused("\n".join(problems))
    return [one for one in found if isinstance(one, Accepted)]


async def check_one(environment: str, host: DesiredHost, tier: DesiredTier, folder: HostPath, limit: asyncio.Semaphore) -> Accepted | list[str]:
    """Check one tier in a folder of its own on this machine, with every folder that it names moved there."""
    runner = LocalRunner("check", Guard("check", roots=(folder,)))
    node = moved(tier, host, folder)
    if not node.has_files:
        return await check_pasted(environment, host, tier, runner)
    files = [PutFile(node.folders.etc / file.name, file.content, file.mode) for file in tier.proxy.render(node)]
    pages = [PutFile(node.folders.pages / file.path.name, file.content) for file in host.base if file.path.parent == host.layout.pages]
    both = next((file.content for file in host.base if file.path == host.layout.tls / "both.pem"), None)
    certificate = [PutFile(file.path, file.content, file.mode) for file in certificate_files(replace(host.layout, root=folder), both)] if both else []
    folders = [MakeFolder(path) for path in (node.folders.run, node.folders.log, node.folders.sockets, node.folders.state, node.folders.slots)]
    async with limit:
        await runner.change([*folders, *with_parents([*files, *pages, *certificate])])
        if node.theirs is not None:
            problems = await judge_part(tier, node, runner)
        else:
            problems = tier.proxy.parse_check(await runner.run(anyhow(tier.proxy.check(node), node.folders.run)))
        version = tier.proxy.parse_version(await runner.run(tier.proxy.version()))
    if problems:
        return [f"{environment}/{host.name}: {node.key} refused: {problem.replace(f'{folder}/', '')}" for problem in problems]
    return Accepted(environment, host.name, node.key, tier.proxy.name, version)


async def check_pasted(environment: str, host: DesiredHost, tier: DesiredTier, runner: LocalRunner) -> Accepted | list[str]:
    """Compare what a program on this machine shows over its socket with what was to be pasted into it."""
    problems = await pasted_problems(tier, runner)
    if problems:
        return [f"{environment}/{host.name}: {tier.node.key}: {problem}" for problem in problems]
    return Accepted(environment, host.name, tier.node.key, tier.proxy.name, tier.proxy.parse_version(await runner.run(tier.proxy.version())))


def moved(tier: DesiredTier, host: DesiredHost, folder: HostPath) -> TierNode:
    """Return the tier's node as if the host's root were another folder."""
    layout = replace(host.layout, root=folder, sockets=folder / "s")
    tls = tls_files(layout) if tier.node.tls else None
    return replace(tier.node, folders=layout.tier(tier.node.key), tls=tls)
