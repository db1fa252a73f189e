"""Works the topology out: environment and addresses in, one `TierNode` for each tier on each host out.

Invariant: pure; the same estate and addresses give the same nodes, whatever is deployed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from manor.estate.layout import SLOTS, HostLayout, instance_name, server_name
from manor.estate.model import Environment, Estate, Route, Service, TierRule
from manor.estate.names import route_host
from manor.estate.placement import hosts_of_tier, instances_of, services_on
from manor.estate.ports import admin_port, first_ports, listener_ports, slot_ports, tier_port
from manor.estate.timeouts import TIER_SEND_IDLE_SECONDS, accept_idle_seconds, drain_seconds, silence_seconds, stop_seconds
from manor.estate.topology import Endpoint, Listener, ProxyTraits, Role, RouteMatch, ServiceView, SlotServer, Theirs, TierNode, TlsFiles
from manor.execution.values import HostPath


@dataclass(frozen=True)
class HostPlace:
    """Where a host is: its address and its folder."""

    address: str
    layout: HostLayout


@dataclass(frozen=True)
class Addressing:
    """Where everything of an environment is."""

    hosts: Mapping[str, HostPlace]
    front: tuple[int, int] | None = None
    """Plain and TLS port on 127.0.0.1 for an environment of local hosts."""
    runs_as_root: bool = False


@dataclass(frozen=True)
class Wiring:
    """An environment with all that its tiers have to know."""

    estate: Estate
    environment: Environment
    addressing: Addressing
    traits: Mapping[str, ProxyTraits]
    """By product, for every product of the chain."""
    extras: Mapping[str, bytes] = field(default_factory=dict)
    """Contents of the files that `extra` names."""

    @property
    def has_way_in(self) -> bool:
        """Tell whether the first tier has listeners of Manor's; where it is only talked to, the way in is somebody else's."""
        return self.environment.traffic.chain[0].manage != "runtime"

    def nodes(self) -> tuple[TierNode, ...]:
        """Return every tier on every host, outermost first, by host name."""
        rules = self.environment.traffic.chain
        return tuple(self._node(place, rule, host) for place, rule in enumerate(rules) for host in hosts_of_tier(self.environment, place))

    def _node(self, place: int, rule: TierRule, host: str) -> TierNode:
        chain = self.environment.traffic.chain
        at = self.addressing.hosts[host]
        key = f"{place}-{rule.role}-{rule.product}"
        is_web = place == len(chain) - 1
        return TierNode(
            estate=self.estate.name,
            environment=self.environment.name,
            host=host,
            address=at.address,
            place=place,
            role=Role(rule.role),
            product=rule.product,
            key=key,
            is_first=place == 0,
            is_switching=place == max(0, len(chain) - 2),
            is_web=is_web,
            listeners=self._listeners(place, host),
            admin_address=at.address,
            admin_port=admin_port(place),
            folders=at.layout.tier(key),
            services=self.services(host if is_web else None),
            next=() if place >= len(chain) - 2 else self._next(place + 1, host),
            accept_idle_seconds=accept_idle_seconds(place),
            send_idle_seconds=TIER_SEND_IDLE_SECONDS,
            request_id=self._request_id(place),
            tls=tls_files(at.layout) if place == 0 else None,
            has_cache=any(Role(tier.role) is Role.CACHE for tier in chain),
            runs_as_root=self.addressing.runs_as_root,
            theirs=theirs_of(rule),
            options=rule.options,
        )

    def _listeners(self, place: int, host: str) -> tuple[Listener, ...]:
        address = self.addressing.hosts[host].address
        is_web_inside = place == len(self.environment.traffic.chain) - 1 and place > 0
        if is_web_inside:
            return ()
        if place > 0:
            return (Listener(address, tier_port(place)),)
        plain, tls = first_ports(is_local=self.addressing.front is not None)
        own = (Listener(address, plain), Listener(address, tls, tls=True))
        if self.addressing.front is None or host != hosts_of_tier(self.environment, 0)[0]:
            return own
        plain, tls = self.addressing.front
        return (*own, Listener("127.0.0.1", plain), Listener("127.0.0.1", tls, tls=True))

    def _next(self, place: int, host: str) -> tuple[Endpoint, ...]:
        hosts = hosts_of_tier(self.environment, place)
        ordered = sorted(hosts, key=lambda name: (name != host, hosts.index(name)))
        has_own = host in hosts
        return tuple(Endpoint(name, name, self.addressing.hosts[name].address, tier_port(place), backup=has_own and name != host) for name in ordered)

    def _request_id(self, place: int) -> Literal["make", "from_trace", "take"]:
        first = self.traits[self.environment.traffic.chain[0].product]
        if place == 0:
            return "make"
        return "from_trace" if place == 1 and not first.makes_request_ids else "take"

    def services(self, host: str | None = None) -> tuple[ServiceView, ...]:
        """Return the services by name; with a host only those with an instance there, and only that host's servers."""
        if host is None:
            return tuple(self._views.values())
        return tuple(self._on(self._views[name], host) for name in services_on(self.environment, host))

    @cached_property
    def _views(self) -> dict[str, ServiceView]:
        """Every service with every server, worked out once: many tiers are given the same."""
        return {name: self.service(name) for name in sorted(self.environment.services)}

    def _on(self, view: ServiceView, host: str) -> ServiceView:
        return replace(view, servers=self._servers(view.name, self.environment.services[view.name], host))

    def service(self, name: str, host: str | None = None) -> ServiceView:
        """Return one service as tiers see it."""
        service = self.environment.services[name]
        routes = self._routes(name, service)
        classes = {route.class_ for route in routes}
        return ServiceView(
            name=name,
            routes=routes,
            redirects=service.redirects,
            static=service.static,
            cache=service.cache,
            health=service.health,
            health_host=routes[0].hosts[0] if routes else f"{name}.{self.environment.name}.localhost",
            servers=self._servers(name, service, host),
            has_program=service.run is not None,
            keep_alive_seconds=service.run.keep_alive if service.run else None,
            response_seconds=silence_seconds(classes),
            drain_seconds=service.rollout.drain_timeout if service.rollout.drain_timeout is not None else drain_seconds(classes),
            stop_seconds=stop_seconds(service.run.stop.timeout if service.run else None, classes),
            probe_paths=probe_paths(service),
            extra=self._extra(service),
        )

    def _routes(self, name: str, service: Service) -> tuple[RouteMatch, ...]:
        return tuple(RouteMatch(self._hosts(name, route), route.path, route.class_, route.body) for route in service.routes)

    def _hosts(self, name: str, route: Route) -> tuple[str, ...]:
        full = full_host(route.host, self.estate, self.environment)
        local = (f"{name}.{self.environment.name}.localhost",) if self.addressing.front else ()
        return (full, *local)

    def _servers(self, name: str, service: Service, host: str | None) -> tuple[SlotServer, ...]:
        return tuple(
            self._server(name, service, where, slot)
            for where in (sorted(instances_of(self.environment, name)) if host is None else (host,))
            for slot in slots_of(service)
        )

    def _server(self, name: str, service: Service, host: str, slot: str) -> SlotServer:
        index = SLOTS.index(slot)
        return SlotServer(
            name=server_name(host, slot),
            instance=instance_name(name, host),
            slot="b" if slot == "b" else "a",
            host=host,
            address=self.addressing.hosts[host].address,
            port=listener_ports(service)[index],
            service_port=slot_ports(service)[index] if service.run else None,
        )

    def _extra(self, service: Service) -> dict[str, dict[str, bytes]]:
        return {product: {place: self.extras[path] for place, path in places.items()} for product, places in service.extra.items()}


def theirs_of(rule: TierRule) -> Theirs | None:
    """Return the program of somebody else that a tier is a part of."""
    if rule.manage not in ("include", "runtime"):
        return None
    into, main, pid, socket = (HostPath(path) if path else None for path in (rule.into, rule.main, rule.pid, rule.socket))
    return Theirs("include" if rule.manage == "include" else "runtime", into, main, pid, socket)


def slots_of(service: Service) -> tuple[str, ...]:
    """Return the slots that a service has: two, unless it cannot run twice."""
    return SLOTS if service.rollout.strategy == "rolling" else SLOTS[:1]


def full_host(host: str, estate: Estate, environment: Environment) -> str:
    """Return the full name of a route's host in an environment."""
    return route_host(host, environment, estate.domain)


def probe_paths(service: Service) -> tuple[str, ...]:
    """Return the paths that always pass the cache, without query, sorted."""
    declared = {probe.path.split("?")[0] for probe in service.probe}
    return tuple(sorted(declared | ({service.health.http.split("?")[0]} if service.health.http else set())))


def tls_files(layout: HostLayout) -> TlsFiles:
    """Return where the first tier's certificate lies."""
    return TlsFiles(layout.tls / "certificate.pem", layout.tls / "key.pem", layout.tls / "both.pem")
