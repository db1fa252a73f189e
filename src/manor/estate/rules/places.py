"""Groups that are named must have hosts, and a service's hosts must carry the web tier (docs/estate.md, placement)."""

from __future__ import annotations

from collections.abc import Iterator

from manor.estate.model import Environment
from manor.estate.overlays import Path
from manor.estate.placement import group_of_tier, groups_of, hosts_of, hosts_of_tier
from manor.estate.problems import Finding, suggestion
from manor.estate.rules.context import Context


def check_places(environment: Environment, context: Context) -> Iterator[Finding]:
    """Yield groups without hosts, and services on hosts without the web tier."""
    if not environment.hosts_by_group:
        yield Finding(("hosts",), "no host; write a count above 0, or leave hosts out for one local host")
        return
    for place, rule in enumerate(environment.traffic.chain):
        if rule.on is not None and rule.on not in environment.hosts_by_group:
            yield _no_group(("traffic", "chain", place, "on"), rule.on, environment)
    yield from _check_services(environment)


def _check_services(environment: Environment) -> Iterator[Finding]:
    last = len(environment.traffic.chain) - 1
    web = set(hosts_of_tier(environment, last)) if last >= 0 else set()
    for group, names in environment.services_by_group.items():
        bare = sorted(set(hosts_of(environment, group)) - web)
        for name in names:
            path = ("services", name, "place", "on")
            if group not in environment.hosts_by_group:
                yield _no_group(path, group, environment)
            elif bare and web:
                where = f"{bare[0]} of {environment.name} does not carry the web tier, which stands on group {group_of_tier(environment, last)}"
                yield Finding(path, f"{where}; add the host to that group, or write `on: {group}` at the web tier")


def _no_group(path: Path, group: str, environment: Environment) -> Finding:
    return Finding(path, f"no host of {environment.name} is in group {group!r}; {suggestion(group, groups_of(environment))}")
