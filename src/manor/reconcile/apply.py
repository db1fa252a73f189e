"""Turns a plan into the steps of an operation (docs/apply.md).

Invariant: pure. All checks come before the first change. Running tiers change the innermost first: one host alone, then batches of the others.
Invariant: no two hosts of a tier that loses connections by its change are in one stage.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from manor.execution.values import HostPath
from manor.operations.step import Planned, Step
from manor.reconcile.desired import DesiredHost, DesiredTier
from manor.reconcile.due import mark_of
from manor.reconcile.plan import Action, Observed, Plan
from manor.reconcile.site import Site
from manor.reconcile.steps import FenceHost, PrepareHost
from manor.reconcile.supervising import CheckSupervisor, Supervise
from manor.reconcile.tiers import ChangeTier, CheckTier, ConfirmTier, TellTier, VerifyTier

Wave = list[Step[Site]]
At = tuple[str, str]
"""Host and key of a tier."""
BATCHES = 4
"""A batch is at the most this part of the hosts on which a tier runs: the others serve meanwhile."""
BATCH_AT_MOST = 25


@dataclass(frozen=True)
class LiveTiers:
    """The tiers of an environment that run before an apply."""

    running: frozenset[At]
    """Those whose programs run now."""
    restarting: frozenset[At] = frozenset()
    """Those for whose new files a reload is not enough."""


def apply_steps(plan: Plan, hosts: Mapping[str, DesiredHost], tiers: LiveTiers) -> list[Planned[Site]]:
    """Return the steps that carry a plan out."""
    touched = [hosts[name] for name in sorted({change.host for change in plan.changes})]
    supervised = [host for host in touched if host.is_supervised]
    every = [(host.name, tier) for host in touched for tier in host.tiers]
    fresh = [(name, tier.node.key) for name, tier in every if (name, tier.node.key) not in tiers.running]
    live = [(name, tier) for name, tier in every if (name, tier.node.key) in tiers.running]
    waves: list[Wave] = [
        [FenceHost(host=host.name) for host in touched],
        [PrepareHost(host=host.name) for host in touched],
        [*(CheckTier(host=name, key=tier.node.key) for name, tier in every), *(CheckSupervisor(host=host.name) for host in supervised)],
        [ChangeTier(host=name, key=key) for name, key in fresh],
        *rolling_changes(plan, live, tiers),
        [TellTier(host=name, key=tier.node.key) for name, tier in live if not tier.node.has_files],
        *supervising(plan, supervised, tiers.running),
        [VerifyTier(host=name, key=key) for name, key in fresh],
    ]
    return [Planned(stage, step) for stage, wave in enumerate(wave for wave in waves if wave) for step in wave]


def rolling_changes(plan: Plan, live: Sequence[tuple[str, DesiredTier]], tiers: LiveTiers) -> list[Wave]:
    """Return the changes of running tiers: tier by tier, the innermost first, each in batches of hosts."""
    moved = {(change.host, change.subject) for change in plan.changes}
    written = [(name, tier.node) for name, tier in live if tier.node.has_files]
    found: list[Wave] = []
    for _, key in sorted({(-node.place, node.key) for _, node in written}):
        own = [(name, node) for name, node in written if node.key == key]
        names = [name for name, node in sorted(own, key=lambda at: ((at[0], at[1].subject) not in moved, at[0]))]
        alone = {name for name, restarted in tiers.restarting if restarted == key}
        size = batch_size(sum(running == key for _, running in tiers.running))
        found += [[ChangeTier(host=name, key=key) for name in batch] for batch in batches(names, alone, size)]
    return found


def batch_size(count: int) -> int:
    """Return how many hosts of a tier that runs on `count` of them may change together."""
    return max(1, min(count // BATCHES, BATCH_AT_MOST))


def batches(names: Sequence[str], alone: Collection[str], size: int) -> list[list[str]]:
    """Return hosts in the order of their change: the first alone, the others `size` at a time, and last, one by one, those that must be alone."""
    together, single = [name for name in names if name not in alone], [[name] for name in names if name in alone]
    canary, others = [together[:1]] if together else [], together[1:]
    return [*canary, *(others[begin : begin + size] for begin in range(0, len(others), size)), *single]


def supervising(plan: Plan, hosts: Sequence[DesiredHost], running: Collection[At]) -> list[Wave]:
    """Return how supervisors take definitions over: all at once, but where that restarts a running tier host by host, each seen to answer before the next."""
    restarted = {host.name: redefined(plan, host, running) for host in hosts}
    quiet: Wave = [Supervise(host=name) for name, keys in restarted.items() if not keys]
    found: list[Wave] = [quiet]
    for name, keys in restarted.items():
        found += [[Supervise(host=name)], [VerifyTier(host=name, key=key) for key in keys]] if keys else []
    return found


def redefined(plan: Plan, host: DesiredHost, running: Collection[At]) -> list[str]:
    """Return the keys of a host's running tiers whose programs have another definition now."""
    changed = {change.what for change in plan.changes if change.host == host.name and change.action is Action.UPDATE}
    live = [tier for tier in host.tiers if (host.name, tier.node.key) in running]
    return [tier.node.key for tier in live if any(program.name in changed for program in tier.programs)]


def restarting_tiers(hosts: Iterable[DesiredHost], observed: Observed) -> frozenset[At]:
    """Return the tiers for whose new files a reload is not enough, as their products say."""
    return frozenset((host.name, tier.node.key) for host in hosts for tier in host.tiers if is_restarting(host.name, tier, observed, mark_of(host, tier)))


def is_restarting(host: str, tier: DesiredTier, observed: Observed, due: HostPath) -> bool:
    """Tell whether a tier has to be restarted for its new files, or was to be (`due`) before. A part of somebody else's program never is."""
    if tier.node.theirs is not None or not tier.files:
        return False
    found, etc = observed.hosts[host], tier.node.folders.etc
    if due in found.texts:
        return True
    before = {path.name: b"" for path in found.strays if path.parent == etc}
    for file in tier.files:
        there = file.content if found.digests.get(file.path) == file.digest else observed.texts.get((host, file.path))
        before |= {file.path.name: there} if there is not None else {}
    return tier.proxy.needs_restart(before, {file.path.name: file.content for file in tier.files})


def confirming_steps(begun: Sequence[Step[Site]]) -> list[Planned[Site]]:
    """Return what follows a failure: each tier whose change was begun must be seen to work, with its old files or the new."""
    return [Planned(0, ConfirmTier(host=step.host, key=step.key)) for step in begun if isinstance(step, ChangeTier)]
