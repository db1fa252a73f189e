"""A tier's files as they were before an operation, and what was on the air by them: kept, compared with what is there, put back (docs/apply.md).

Invariant: all is kept whole before the first new file is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from manor.execution.base import Runner
from manor.execution.values import Effect, HostPath, MakeFolder, PutFile, Remove, Touch
from manor.operations.step import Here
from manor.reconcile.desired import DesiredHost, DesiredTier
from manor.reconcile.serving import SERVED, Served, read_served
from manor.reconcile.site import Site, remove_strays, with_parents
from manor.reconcile.switching import switch_paths

UNKNOWN_MODE = 0o640
"""Of a file that is put back and that the declared tier no longer has."""


def kept_in(host: DesiredHost, here: Here, key: str) -> HostPath:
    """Return where an operation keeps a tier's files as they were before it."""
    return host.layout.operation(here.operation) / "before" / key


def whole_mark(kept: HostPath) -> HostPath:
    """Return the file that is written last: without it the copies beside it may be some of several."""
    return kept.with_name(f"{kept.name}.whole")


def served_file(kept: HostPath) -> HostPath:
    """Return where it is kept what was on the air before a tier's change."""
    return kept.with_name(f"{kept.name}.served")


def switch_copies(kept: HostPath) -> HostPath:
    """Return the folder where state files are kept as they were."""
    return kept.with_name(f"{kept.name}.switch")


class Told(StrEnum):
    """How far an operation is with the process that runs by the files."""

    NOTHING = ""
    """It was not told of the new files and works by the old ones."""
    TOLD = "told"
    """It is about to be told, or was, and nobody has seen that it took them over."""
    TAKEN = "taken"
    """It was seen to work by the new files."""


def told_mark(kept: HostPath) -> HostPath:
    """Return the file that says what a running process was told."""
    return kept.with_name(f"{kept.name}.told")


async def read_told(kept: HostPath, runner: Runner) -> Told:
    """Return what a running process was told in this operation."""
    mark = told_mark(kept)
    return Told((await runner.read([mark])).get(mark, b"").decode().strip())


async def note_told(kept: HostPath, runner: Runner, told: Told) -> None:
    """Note what a running process is told."""
    await runner.change([PutFile(told_mark(kept), f"{told}\n".encode()) if told else Remove(told_mark(kept))])


async def is_there(path: HostPath, runner: Runner) -> bool:
    """Tell whether a file is there."""
    return path in await runner.digest([path])


async def keep_files(kept: HostPath, tier: DesiredTier, ports: Site) -> Mapping[str, bytes]:
    """Keep the files as they are, and what is on the air, unless a try before this one did: by then they may be half-way new."""
    runner = ports.runners[tier.node.host]
    if await is_there(whole_mark(kept), runner):
        return await contents(kept, runner)
    before = await present(tier, runner)
    copies = [PutFile(kept / name, content, 0o600) for name, content in before.items()]
    states = await runner.read(switch_paths(tier))
    traffic = [PutFile(switch_copies(kept) / path.name, content, 0o600) for path, content in states.items()]
    served = PutFile(served_file(kept), SERVED.dump_json(await read_served(ports, tier)))
    gone = [Remove(kept), Remove(switch_copies(kept))]
    await runner.change([*gone, MakeFolder(kept, 0o700), *copies, *with_parents(traffic), served, PutFile(whole_mark(kept), b"")])
    return before


async def read_kept_served(kept: HostPath, runner: Runner) -> tuple[Served, ...]:
    """Return what was on the air before the first try at a tier's change."""
    path = served_file(kept)
    text = (await runner.read([path])).get(path)
    return SERVED.validate_json(text) if text else ()


async def put_files_back(kept: HostPath, tier: DesiredTier, runner: Runner, before: Mapping[str, bytes]) -> None:
    """Have exactly the old files there, and the state files that were beside them."""
    etc, own, touch = tier.node.folders.etc, tier.own_path, Touch(subject=tier.node.subject, effect=Effect.INCLUDE)
    modes = {file.path.name: file.mode for file in tier.files}
    acts = [PutFile(tier.paths.get(name, etc / name), content, modes.get(name, UNKNOWN_MODE), touch) for name, content in before.items()]
    gone = [Remove(own, touch)] if own is not None and own.name not in before else []
    await runner.change([*acts, *gone, *await old_switch_files(kept, tier, runner)])
    await remove_strays(etc, (etc / name for name in before), runner, tier.node.subject)


async def old_switch_files(kept: HostPath, tier: DesiredTier, runner: Runner) -> list[PutFile]:
    """Return the acts that put state files back which the change wrote otherwise: they name ports too."""
    now = await runner.read(switch_paths(tier))
    old = await contents(switch_copies(kept), runner)
    touch = Touch(subject=tier.node.subject, effect=Effect.INCLUDE)
    return [PutFile(path, old[path.name], touch=touch) for path, content in now.items() if old.get(path.name, content) != content]


async def is_mixed(tier: DesiredTier, host: DesiredHost, runner: Runner, here: Here) -> bool:
    """Tell whether a tier's files are neither all as declared nor all as they were before this operation."""
    kept = kept_in(host, here, tier.node.key)
    if not await is_there(whole_mark(kept), runner):  # the first file is written only after that
        return False
    now, before = await present(tier, runner), await contents(kept, runner)
    has_old = bool(before) or tier.own_path is not None  # a part works without our file, too
    return has_old and now not in (declared(tier), before)


def declared(tier: DesiredTier) -> Mapping[str, bytes]:
    """Return a tier's files as they are to be, by name."""
    return {file.path.name: file.content for file in tier.files}


async def present(tier: DesiredTier, runner: Runner) -> Mapping[str, bytes]:
    """Return a tier's files as they are, by name: all of its folder, and its own in somebody else's."""
    own = tier.own_path
    beside = await runner.read([own]) if own is not None else {}
    return {**await contents(tier.node.folders.etc, runner), **{path.name: content for path, content in beside.items()}}


async def contents(folder: HostPath, runner: Runner) -> Mapping[str, bytes]:
    """Return the files of a folder by name."""
    found = await runner.read([folder / name for name in await runner.listing(folder)])
    return {path.name: content for path, content in found.items()}
