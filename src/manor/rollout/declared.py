"""Whether tiers work by the files that the estate declares now: a rollout begins from what was planned, or not at all (docs/rollout.md, preflight).

Invariant: reads only. What a checker accepted when it was applied is what lies there: the digests say so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from manor.execution.base import Runner
from manor.execution.values import HostPath
from manor.reconcile.desired import DesiredHost, DesiredTier


async def undeclared_tiers(host: DesiredHost, runner: Runner) -> list[str]:
    """Return the tiers of a host whose files differ from what is declared, or that were not told of these files."""
    tiers = [tier for tier in host.tiers if tier.node.has_files]
    there = await runner.digest([file.path for tier in tiers for file in tier.files])
    texts = await runner.read([host.layout.loaded(tier.node.key) for tier in tiers])
    loaded = {tier.node.key: texts.get(host.layout.loaded(tier.node.key), b"").decode().strip() for tier in tiers}
    return [f"{host.name}: {tier.node.key} {problem}" for tier in tiers if (problem := problem_of(tier, there, loaded[tier.node.key]))]


def problem_of(tier: DesiredTier, there: Mapping[HostPath, str], loaded: str) -> str:
    """Return what is not as declared about one tier; empty: nothing."""
    differing = [file.path.name for file in tier.files if there.get(file.path) != hashlib.sha256(file.content).hexdigest()]
    if differing:
        return f"does not have the files that the estate declares ({', '.join(sorted(differing))})"
    return "has files that it was not told of yet" if loaded and loaded != tier.digest else ""
