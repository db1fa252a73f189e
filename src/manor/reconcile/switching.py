"""Which servers a switching tier sends traffic to, and the state files with which it starts and reloads (docs/apply.md, batches).

Invariant: whoever is out of traffic at a running tier stays out of it, whatever is written.
"""

from __future__ import annotations

from collections.abc import Mapping

from manor.estate.topology import ServiceView, TrafficState
from manor.execution.base import Runner
from manor.execution.values import HostPath, PutFile
from manor.observe.slots import read_slots, traffic_of
from manor.reconcile.desired import DesiredTier
from manor.reconcile.returns import returned_traffic
from manor.reconcile.serving import servers_now
from manor.reconcile.site import Site, with_parents


async def write_switch_files(ports: Site, tier: DesiredTier, runner: Runner) -> None:
    """Write a switching tier's state files, so that it starts and reloads with the traffic that it has; as the store has it where it does not run."""
    if not tier.node.is_switching:
        return
    rows = await read_slots(ports.store, ports.wiring.environment.name)
    for view in tier.node.services:
        returned = await returned_traffic(runner, ports.hosts[tier.node.host].layout.guard(view.name), tier.proxy)
        traffic = {**traffic_of(view, rows), **returned, **await traffic_now(tier, view, runner)}
        await runner.change(with_parents(tier.proxy.switch_files(tier.node, view, traffic)))


async def traffic_now(tier: DesiredTier, view: ServiceView, runner: Runner) -> Mapping[str, TrafficState]:
    """Return how a running process treats those servers of a service that it knows; nothing if it does not answer."""
    return {one.name: one.traffic for one in await servers_now(tier, view, runner)}


async def all_traffic(tier: DesiredTier, runner: Runner) -> Mapping[str, Mapping[str, TrafficState]]:
    """Return the traffic of all services that a tier switches, by service."""
    return {view.name: await traffic_now(tier, view, runner) for view in switched(tier)}


async def keep_out(tier: DesiredTier, traffic: Mapping[str, Mapping[str, TrafficState]], runner: Runner) -> None:
    """Take out of traffic again what was out of it: an old state file may not know of it."""
    for view in switched(tier):
        now = await traffic_now(tier, view, runner)
        out = {name: state for name, state in traffic[view.name].items() if state is not TrafficState.READY and now.get(name, state) is not state}
        for act in tier.proxy.switch(tier.node, view, out) if out else ():
            await runner.carry_out(act)


def switched(tier: DesiredTier) -> tuple[ServiceView, ...]:
    """Return the services that a tier switches."""
    return tier.node.services if tier.node.is_switching else ()


def switch_paths(tier: DesiredTier) -> tuple[HostPath, ...]:
    """Return the state files of a switching tier."""
    states = {view.name: {server.name: TrafficState.READY for server in view.servers} for view in switched(tier)}
    acts = [act for view in switched(tier) for act in tier.proxy.switch_files(tier.node, view, states[view.name])]
    return tuple(act.path for act in acts if isinstance(act, PutFile))
