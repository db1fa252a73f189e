"""What one machine has room for: local hosts have loopback addresses and a pair of front ports (docs/local-hosts.md)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from manor.estate.hosts import MOST_LOCAL_HOSTS
from manor.estate.model import Environment
from manor.estate.problems import Finding

MOST_LOCAL_ENVIRONMENTS = 200
"""So many pairs of front ports there are (`manor.execution.machine.FRONTS`)."""


def check_machine(environments: Mapping[str, Environment]) -> Iterator[tuple[str, Finding]]:
    """Yield environments with more local hosts than have addresses, and those for which no front ports are left."""
    local = 0
    for name, environment in environments.items():
        count = sum(host.address is None for host in environment.hosts.values())
        local += count > 0
        if count > MOST_LOCAL_HOSTS:
            wrong = f"{count} hosts without an address, of which one machine has room for {MOST_LOCAL_HOSTS}; write fewer, or give them addresses"
            yield name, Finding(("hosts",), wrong)
        if count and local == MOST_LOCAL_ENVIRONMENTS + 1:
            wrong = f"more than {MOST_LOCAL_ENVIRONMENTS} environments have hosts without an address; write fewer, or give the hosts addresses"
            yield name, Finding(("hosts",), wrong)
