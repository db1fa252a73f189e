"""Which hosts carry what (docs/estate.md, placement).

Invariant: pure, a function of one resolved environment.
"""

from __future__ import annotations

from manor.estate.model import Environment

WEB = "web"
EDGE = "edge"


def groups_of(environment: Environment) -> tuple[str, ...]:
    """Return the environment's groups in the order of their first host."""
    return tuple(environment.hosts_by_group)


def hosts_of(environment: Environment, group: str) -> tuple[str, ...]:
    """Return the names of the hosts in a group, in the order of declaration."""
    return tuple(host.name for host in environment.hosts_by_group.get(group, ()))


def group_of_service(environment: Environment, service: str) -> str:
    """Return the group that a service stands on."""
    return environment.group_or_default(environment.services[service].place.on, WEB)


def group_of_tier(environment: Environment, place: int) -> str:
    """Return the group that a tier stands on; `place` counts from 0, the outermost."""
    rule = environment.traffic.chain[place]
    return environment.group_or_default(rule.on, WEB if rule.role == "web" else EDGE)


def instances_of(environment: Environment, service: str) -> tuple[str, ...]:
    """Return the names of the hosts with an instance of a service; there is one a host of its group."""
    return hosts_of(environment, group_of_service(environment, service))


def hosts_of_tier(environment: Environment, place: int) -> tuple[str, ...]:
    """Return the names of the hosts that carry a tier; `place` counts from 0, the outermost."""
    return hosts_of(environment, group_of_tier(environment, place))


def services_on(environment: Environment, host: str) -> tuple[str, ...]:
    """Return the names of the services with an instance on a host, sorted."""
    groups = environment.hosts[host].groups
    return tuple(sorted({name for group in groups for name in environment.services_by_group.get(group, ())}))
