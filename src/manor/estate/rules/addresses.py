"""One address is one host, unless two environments before the last say that they share it (docs/estate.md, placement)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from manor.estate.model import Environment, Host
from manor.estate.problems import Finding
from manor.estate.rules.ports import owners_on

Carrier = tuple[Environment, Host]


def check_addresses(environments: Mapping[str, Environment]) -> Iterator[tuple[str, Finding]]:
    """Yield the environment and the finding for each address that is used twice without leave."""
    seen: dict[str, Carrier] = {}
    for environment in environments.values():
        for host in environment.hosts.values():
            if host.address is None:
                continue
            first = seen.setdefault(host.address, (environment, host))
            wrong = None if first[1] is host else _wrong(first, (environment, host))
            if wrong:
                yield environment.name, Finding(("hosts", host.name, "address"), wrong)


def _wrong(first: Carrier, second: Carrier) -> str | None:
    other = f"{second[1].address} is also environments.{first[0].name}.hosts.{first[1].name}"
    if first[0] is second[0]:
        return f"{other}; one machine is one host, put it into several groups instead"
    if first[0].is_last or second[0].is_last:
        return f"{other}; the last environment shares no host, give it one of its own"
    if not (first[1].shared and second[1].shared):
        return f"{other}; write shared: true at both, or use another machine"
    return _wrong_ports(first, second, other)


def _wrong_ports(first: Carrier, second: Carrier, other: str) -> str | None:
    """Return which port both need: ports are the same in every environment, so that only different parts can share a host."""
    taken = {owner.port: owner for owner in owners_on(*first)}
    clash = next(((owner, taken[owner.port]) for owner in owners_on(*second) if owner.port in taken), None)
    return f"{other}, and both need port {clash[0].port} ({clash[0].what}); place other groups on one of them" if clash else None
