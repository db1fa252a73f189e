"""Which hosts carry what (docs/estate.md, placement).

Invariant: pure, a function of one resolved environment.
"""

from __future__ import annotations

from dataclasses import dataclass

from manor.estate.layout import instance_name
from manor.estate.model import Environment, Host

WEB = "web"
EDGE = "edge"


@dataclass(frozen=True)
class Instance:
    """One running copy of a service."""

    service: str
    host: Host
    number: int = 1

    @property
    def name(self) -> str:
        """Return `service@host#n`."""
        return instance_name(self.service, self.host.name, self.number)


def groups_of(environment: Environment) -> tuple[str, ...]:
    """Return the environment's groups in the order of their first host."""
    return tuple(environment.hosts_by_group)


def hosts_of(environment: Environment, group: str) -> tuple[Host, ...]:
    """Return the hosts in a group, in the order of declaration."""
    return environment.hosts_by_group.get(group, ())


def group_of_service(environment: Environment, service: str) -> str:
    """Return the group that a service stands on."""
    return environment.group_or_default(environment.services[service].place.on, WEB)


def group_of_tier(environment: Environment, place: int) -> str:
    """Return the group that a tier stands on; `place` counts from 0, the outermost."""
    rule = environment.traffic.chain[place]
    return environment.group_or_default(rule.on, WEB if rule.role == "web" else EDGE)


def instances_of(environment: Environment, service: str) -> tuple[Instance, ...]:
    """Return a service's instances, one a host of its group."""
    return tuple(Instance(service, host) for host in hosts_of(environment, group_of_service(environment, service)))


def hosts_of_tier(environment: Environment, place: int) -> tuple[Host, ...]:
    """Return the hosts that carry a tier; `place` counts from 0, the outermost."""
    return hosts_of(environment, group_of_tier(environment, place))


def services_on(environment: Environment, host: Host) -> tuple[str, ...]:
    """Return the names of the services with an instance on a host, sorted."""
    return tuple(sorted({name for group in host.groups for name in environment.services_by_group.get(group, ())}))
