"""A tier's files as they were before an operation: kept, compared with what is there, put back (docs/apply.md).

Invariant: they are kept whole before the first new one is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from manor.execution.base import Runner
from manor.execution.values import Effect, HostPath, MakeFolder, PutFile, Remove, Touch
from manor.operations.step import Here
from manor.reconcile.desired import DesiredHost, DesiredTier
from manor.reconcile.site import remove_strays

UNKNOWN_MODE = 0o640
"""Of a file that is put back and that the declared tier no longer has."""


def kept_in(host: DesiredHost, here: Here, key: str) -> HostPath:
    """Return where an operation keeps a tier's files as they were before it."""
    return host.layout.operation(here.operation) / "before" / key


def whole_mark(kept: HostPath) -> HostPath:
    """Return the file that is written last: without it the copies beside it may be some of several."""
    return kept.with_name(f"{kept.name}.whole")


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


async def keep_files(kept: HostPath, tier: DesiredTier, runner: Runner) -> Mapping[str, bytes]:
    """Keep the files as they are, unless a try before this one did: by then they may be half-way new."""
    if await is_there(whole_mark(kept), runner):
        return await contents(kept, runner)
    before = await present(tier, runner)
    copies = [PutFile(kept / name, content, 0o600) for name, content in before.items()]
    await runner.change([Remove(kept), MakeFolder(kept, 0o700), *copies, PutFile(whole_mark(kept), b"")])
    return before


async def put_files_back(tier: DesiredTier, runner: Runner, before: Mapping[str, bytes]) -> None:
    """Have exactly the old files there."""
    etc, own, touch = tier.node.folders.etc, tier.own_path, Touch(subject=tier.node.subject, effect=Effect.INCLUDE)
    modes = {file.path.name: file.mode for file in tier.files}
    acts = [PutFile(tier.paths.get(name, etc / name), content, modes.get(name, UNKNOWN_MODE), touch) for name, content in before.items()]
    gone = [Remove(own, touch)] if own is not None and own.name not in before else []
    await runner.change([*acts, *gone])
    await remove_strays(etc, (etc / name for name in before), runner, tier.node.subject)


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
