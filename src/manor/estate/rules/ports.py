"""Two things on one host cannot have the same port (docs/ports.md)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from manor.estate.model import Environment, Host
from manor.estate.overlays import Path
from manor.estate.placement import group_of_tier
from manor.estate.ports import admin_port, first_ports, listener_ports, slot_ports, tier_port
from manor.estate.problems import Finding
from manor.estate.rules.context import Context


class Owner(NamedTuple):
    """What a port on a host is for."""

    port: int
    path: Path
    what: str


def check_ports(environment: Environment, context: Context) -> Iterator[Finding]:
    """Yield each service whose port something else on a host of its own has."""
    for host in one_of_each(environment):
        taken: dict[int, Owner] = {}
        told: set[tuple[Path, Path]] = set()
        for owner in owners_on(environment, host):
            other = taken.setdefault(owner.port, owner)
            if other is not owner and (owner.path, other.path) not in told:
                told.add((owner.path, other.path))
                yield Finding(owner.path, f"port {owner.port} ({owner.what}) is also {other.what}; choose another port")


def one_of_each(environment: Environment) -> Iterator[Host]:
    """Yield one host of each combination of groups: equal groups have equal ports."""
    seen = set()
    for host in environment.hosts.values():
        kind = (frozenset(host.groups), host.is_local)
        if kind not in seen:
            seen.add(kind)
            yield host


def owners_on(environment: Environment, host: Host) -> Iterator[Owner]:
    """Yield every port that the estate needs on a host: tiers first, then services by name."""
    for place, rule in enumerate(environment.traffic.chain):
        if group_of_tier(environment, place) in host.groups:
            path: Path = ("traffic", "chain", place)
            what = f"tier {place} of the chain, {rule.role} {rule.product}"
            yield from (Owner(port, path, what) for port in _tier_ports(environment, place, host))
            yield Owner(admin_port(place), path, f"the admin side of {what}")
    for group in sorted(set(host.groups)):
        for name in environment.services_by_group.get(group, ()):
            yield from _service_ports(environment, name)


def _tier_ports(environment: Environment, place: int, host: Host) -> tuple[int, ...]:
    if place == 0:
        return first_ports(is_local=host.is_local)
    return () if place == len(environment.traffic.chain) - 1 else (tier_port(place),)


def _service_ports(environment: Environment, name: str) -> Iterator[Owner]:
    service = environment.services[name]
    path: Path = ("services", name, "run", "port") if service.run else ("services", name, "port")
    if service.run:
        yield from (Owner(port, path, f"slot {slot} of services.{name}") for port, slot in zip(slot_ports(service), "ab", strict=True))
    yield from (Owner(port, path, f"web's listener for slot {slot} of services.{name}") for port, slot in zip(listener_ports(service), "ab", strict=True))
