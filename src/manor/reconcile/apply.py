"""Turns a plan into the steps of an operation (docs/apply.md).

Invariant: pure. All checks come before the first change; running tiers change one after the other, the innermost first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from manor.operations.step import Planned, Step
from manor.reconcile.desired import DesiredHost
from manor.reconcile.plan import Plan
from manor.reconcile.site import Site
from manor.reconcile.steps import FenceHost, PrepareHost
from manor.reconcile.supervising import CheckSupervisor, Supervise
from manor.reconcile.tiers import ChangeTier, CheckTier, ConfirmTier, TellTier, VerifyTier

Wave = list[Step[Site]]


def apply_steps(plan: Plan, hosts: Mapping[str, DesiredHost], running: Iterable[tuple[str, str]]) -> list[Planned[Site]]:
    """Return the steps that carry a plan out. `running` are (host, tier key) of tiers whose programs run now."""
    touched = [hosts[name] for name in sorted({change.host for change in plan.changes})]
    alive = set(running)
    every = [(host.name, tier.node.place, tier.node.key) for host in touched for tier in host.tiers]
    fresh = [(name, key) for name, _, key in every if (name, key) not in alive]
    live = [(name, key) for name, _, key in sorted(every, key=lambda at: (-at[1], at[0])) if (name, key) in alive]
    written = {(host.name, tier.node.key) for host in touched for tier in host.tiers if tier.node.has_files}
    one_by_one: list[Wave] = [[ChangeTier(host=name, key=key)] for name, key in live if (name, key) in written]
    waves: list[Wave] = [
        [FenceHost(host=host.name) for host in touched],
        [PrepareHost(host=host.name) for host in touched],
        [*(CheckTier(host=name, key=key) for name, _, key in every), *(CheckSupervisor(host=host.name) for host in touched if host.is_supervised)],
        [ChangeTier(host=name, key=key) for name, key in fresh],
        *one_by_one,
        [TellTier(host=name, key=key) for name, key in live if (name, key) not in written],
        [Supervise(host=host.name) for host in touched if host.is_supervised],
        [VerifyTier(host=name, key=key) for name, key in fresh],
    ]
    return [Planned(stage, step) for stage, wave in enumerate(wave for wave in waves if wave) for step in wave]


def confirming_steps(begun: Sequence[Step[Site]]) -> list[Planned[Site]]:
    """Return what follows a failure: each tier whose change was begun must be seen to work, with its old files or the new."""
    return [Planned(0, ConfirmTier(host=step.host, key=step.key)) for step in begun if isinstance(step, ChangeTier)]
