"""A restart that is due: a running tier's new files may lie on disk while its process works by older ones (docs/apply.md, pending restarts).

Invariant: the mark is written before the first of such files, and goes only when the tier was seen to work afterwards. While it is there a reload
is not enough, whatever lies on disk by now.
"""

from __future__ import annotations

from collections.abc import Mapping

from manor.execution.base import Runner
from manor.execution.values import HostPath, PutFile, Remove
from manor.reconcile.desired import DesiredHost, DesiredTier


def mark_of(host: DesiredHost, tier: DesiredTier) -> HostPath:
    """Return the file whose presence says that a restart is due."""
    return host.layout.restart_due(tier.node.key)


async def is_due(host: DesiredHost, tier: DesiredTier, runner: Runner) -> bool:
    """Tell whether a tier has to be restarted."""
    mark = mark_of(host, tier)
    return mark in await runner.digest([mark])


async def note_due(host: DesiredHost, tier: DesiredTier, runner: Runner, before: Mapping[str, bytes]) -> None:
    """Write that a restart is due, if the declared files need one after those that are there. A part of somebody else's program is never restarted."""
    if tier.node.theirs is None and before and tier.proxy.needs_restart(before, {file.path.name: file.content for file in tier.files}):
        await runner.change([PutFile(mark_of(host, tier), b"")])


async def forget_due(host: DesiredHost, tier: DesiredTier, runner: Runner) -> None:
    """Note that none is due any more."""
    await runner.change([Remove(mark_of(host, tier))])
