"""A service that Manor delivers needs every tier that switches its traffic to be Manor's to work (docs/estate.md, ownership)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from manor.estate.model import Environment
from manor.estate.placement import hosts_of_tier, instances_of
from manor.estate.problems import Finding
from manor.estate.rules.context import Context

LEFT_ALONE = frozenset({"observe", "never"})


def check_switching(environment: Environment, context: Context) -> Iterator[Finding]:
    """Yield the hosts and the tier that a rollout would have to work, and may not."""
    chain = environment.traffic.chain
    if not chain:
        return
    place = max(0, len(chain) - 2)
    tier = f"tier {place} of the chain ({chain[place].role} {chain[place].product})"
    delivered = {name: hosts for name in environment.services if (hosts := delivered_to(environment, name))}
    if not delivered:
        return
    if chain[place].manage in LEFT_ALONE:
        told = f"{tier} switches between the slots of {first_of(delivered)}, which `manage: {chain[place].manage}` forbids"
        wrong = f"{told}; write full, or `manage: observe` at each of them"
        yield Finding(("traffic", "chain", place, "manage"), wrong)
    for name in hosts_of_tier(environment, place):
        if environment.hosts[name].manage in LEFT_ALONE:
            # In a chain of web alone each host switches its own instances, and a rollout waits for all of them.
            concerned = [service for service in delivered if len(chain) > 1 or name in instances_of(environment, service)]
            if concerned:
                wrong = (
                    f"{tier} stands here and switches between the slots of {first_of(concerned)}; write manage: full, or let the tier stand elsewhere with `on`"
                )
                yield Finding(("hosts", name, "manage"), wrong)


def delivered_to(environment: Environment, service: str) -> tuple[str, ...]:
    """Return the hosts on which Manor replaces a service's instances."""
    if environment.services[service].manage in LEFT_ALONE:
        return ()
    return tuple(host for host in instances_of(environment, service) if environment.hosts[host].manage not in LEFT_ALONE)


def first_of(names: Iterable[str]) -> str:
    """Return the first name, and that there are more."""
    every = list(names)
    return f"services.{every[0]}" + (f" and {len(every) - 1} more" if len(every) > 1 else "")
