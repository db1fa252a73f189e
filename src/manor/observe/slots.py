"""What the store says about slots: which traffic each server of a service is to have.

Invariant: a server that the store does not know is in `maint`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from manor.estate.layout import instance_name
from manor.estate.topology import ServiceView, TrafficState
from manor.integrations.proxies.base import ServerView
from manor.state import releases
from manor.state.store import Store
from manor.state.words import Traffic

IN_TIERS = {Traffic.NONE: TrafficState.MAINT, Traffic.DRAINING: TrafficState.DRAIN, Traffic.READY: TrafficState.READY}
"""What the store's words mean to a switching tier."""

IN_STORE = {state: word for word, state in IN_TIERS.items()}


def traffic_of(view: ServiceView, rows: Iterable[releases.SlotRow]) -> Mapping[str, TrafficState]:
    """Return every server of a service with its remembered traffic."""
    known = {(row.instance, str(row.slot)): row.traffic for row in rows if row.service == view.name}
    return {server.name: IN_TIERS[known.get((server.instance, server.slot), Traffic.NONE)] for server in view.servers}


def held_out(
    view: ServiceView, rows: Iterable[releases.SlotRow], deployments: Iterable[releases.Deployment], seen: Iterable[ServerView]
) -> Mapping[str, TrafficState]:
    """Return the servers that are to serve and that a switching tier was told to use, but has out of traffic: somebody took them out by hand.

    The store says `ready` only after every switching tier was told, and a slot is the active one only after each has shown it.
    """
    wanted, known = traffic_of(view, rows), tuple(deployments)
    active = {server.name for server in view.servers if server.slot == active_slot(view.name, server.host, known)}
    out = (server for server in seen if server.traffic is not TrafficState.READY)
    return {server.name: server.traffic for server in out if server.name in active and wanted[server.name] is TrafficState.READY}


async def read_slots(store: Store, environment: str, service: str | None = None) -> tuple[releases.SlotRow, ...]:
    """Return the slots of an environment, or of one service in it."""
    return await store.read(releases.slots, environment, service)


def active_slot(service: str, host: str, deployments: Iterable[releases.Deployment]) -> str | None:
    """Return the slot that serves on a host, or None."""
    name = instance_name(service, host)
    found = next((row for row in deployments if row.service == service and row.instance == name), None)
    return str(found.active) if found is not None and found.active is not None else None
