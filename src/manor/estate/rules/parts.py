"""What `manage` between observe and full asks: of tiers that are a part of somebody else's program, of hosts and of services (docs/ownership.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from manor.estate.model import Environment, Host, Service, TierRule
from manor.estate.overlays import Path
from manor.estate.placement import hosts_of_tier, services_on
from manor.estate.problems import Finding
from manor.estate.rules.context import Context
from manor.estate.topology import ProxyTraits

PLACES = ("into", "main", "pid", "socket")
EXAMPLES = {
    "into": "/etc/{product}/conf.d",
    "main": "/etc/{product}/{product}.conf",
    "pid": "/run/{product}.pid",
    "socket": "/run/{product}/admin.sock",
}


def check_parts(environment: Environment, context: Context) -> Iterator[Finding]:
    """Yield what is wrong with tiers, hosts and services that are managed in part."""
    for place, rule in enumerate(environment.traffic.chain):
        path: Path = ("traffic", "chain", place)
        given = tuple(key for key in PLACES if getattr(rule, key) is not None)
        if rule.manage in ("include", "runtime"):
            wrongs = [*_over_socket(environment, place, rule), *_tier(rule, context.products[rule.product], given), *_one_machine(environment, place)]
            yield from (Finding(path, wrong) for wrong in wrongs)
            yield from _untouchable(environment, place, rule)
        elif given:
            wrong = f"{', '.join(given)}: only for a tier with manage: include or runtime, a part of a program of yours; this one is {rule.manage}: remove it"
            yield Finding(path, wrong)
    yield from _same_place(environment)
    for host in environment.hosts.values():
        yield from (Finding(("hosts", host.name, "manage"), wrong) for wrong in _host(environment, host))
    for name, service in environment.services.items():
        yield from (Finding(("services", name, "manage"), wrong) for wrong in _service(service))


def _tier(rule: TierRule, traits: ProxyTraits, given: tuple[str, ...]) -> Iterator[str]:
    """Yield why a product can't be a part in this way, and which places are missing or useless."""
    if rule.manage not in ("include", "runtime"):
        return
    needed = traits.takes_part.get(rule.manage)
    if needed is None:
        can = f"it can with: {', '.join(sorted(traits.takes_part))}" if traits.takes_part else f"it takes no part: {traits.takes_no_part}"
        yield f"{rule.product} can't be managed with `{rule.manage}`; {can}; write another `manage`, or full to have one of Manor's own beside yours"
        return
    for key in (key for key in PLACES if key in needed and key not in given):
        yield f"`manage: {rule.manage}` of {rule.product} needs `{key}`; add e.g. {key}: {EXAMPLES[key].format(product=rule.product)}"
    for key in (key for key in given if key not in needed):
        yield f"`manage: {rule.manage}` of {rule.product} has no use for `{key}`; remove it"


def _over_socket(environment: Environment, place: int, rule: TierRule) -> Iterator[str]:
    """Yield what a tier that is only talked to can't do: it has no listener of ours and remembers nothing."""
    if rule.manage != "runtime":
        return
    if place != 0 or len(environment.traffic.chain) != 2:
        yield "runtime is for the one balancer before web: no listener can be added over a socket; write chain: [{balancer: …}, {web: …}], or include"
    for name, service in environment.services.items():
        if service.run is None and service.manage != "never":
            yield f"services.{name} has no program: after your reload both of its slots would answer, since runtime keeps no state; write include"


def _one_machine(environment: Environment, place: int) -> Iterator[str]:
    """Yield that several local hosts would be a part of one and the same program."""
    local = [name for name in hosts_of_tier(environment, place) if environment.hosts[name].is_local]
    if len(local) > 1:
        yield f"your program is one on this machine, and the tier stands on {len(local)} local hosts ({', '.join(local)}); let it stand on one, with `on`"


def _same_place(environment: Environment) -> Iterator[Finding]:
    """Yield tiers that are a part of the same program."""
    seen: dict[str, int] = {}
    for place, rule in enumerate(environment.traffic.chain):
        for key in (key for key in ("into", "pid", "socket") if getattr(rule, key)):
            first = seen.setdefault(getattr(rule, key), place)
            if first != place:
                yield Finding(("traffic", "chain", place), f"`{key}` is also that of tier {first}; one program of yours is one tier: name another")


def _untouchable(environment: Environment, place: int, rule: TierRule) -> Iterator[Finding]:
    """Yield places of the tier that a host says are not to be touched."""
    named = {key: PurePosixPath(value) for key in PLACES if (value := getattr(rule, key))}
    for name in hosts_of_tier(environment, place):
        for number, forbidden in enumerate(environment.hosts[name].untouchable.paths):
            for key, path in named.items():
                if path.is_relative_to(forbidden):
                    wrong = f"{forbidden} holds {path}, which is `{key}` of traffic.chain[{place}]; name smaller folders, Manor works there"
                    yield Finding(("hosts", name, "untouchable", "paths", number), wrong)


def _host(environment: Environment, host: Host) -> Iterator[str]:
    """Yield what can't be on a host that is managed in part."""
    if host.manage == "runtime":
        yield "runtime is for tiers: on a host Manor keeps its releases and its fence in files; write include here, and runtime at the tier; or observe"
    if host.manage != "include":
        return
    for place, rule in enumerate(environment.traffic.chain):
        if rule.manage == "full" and host.name in hosts_of_tier(environment, place):
            yield f"include starts nothing, and tier {place} ({rule.role} {rule.product}) would have to be; give that tier manage: include, or this host full"
    for name in services_on(environment, host.name):
        service = environment.services[name]
        if service.run is not None and service.manage == "full":
            yield f"include starts nothing, and rollouts start and stop services.{name}; place it elsewhere, make it static, or write full"


def _service(service: Service) -> Iterator[str]:
    """Yield what can't be done with a service that is managed in part."""
    if service.manage == "runtime":
        yield "a service has no socket to be told over; what balancers do with it is `manage` of their tier; write full, include (files only) or observe"
    if service.manage == "include" and service.run is not None:
        yield "include places files and starts nothing, and a rollout of this service starts and stops its program; write full, or observe to leave it alone"
