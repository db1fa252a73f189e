"""The files in the state folder: which servers of a service take traffic, and its maintenance page.

Invariant: a server that takes no traffic is never in a list with those that do; weight 0 can hang Traefik 3.7.15.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from manor.estate.topology import ServiceView, SlotServer, TierNode, TrafficState
from manor.execution.values import HostPath
from manor.integrations.proxies.traefik.native import Native, call, duration, template
from manor.integrations.proxies.traefik.routing import (
    MAINTENANCE_PRIORITY,
    NEVER,
    NOWHERE,
    STAMP,
    Named,
    our_pages,
    page,
    pool,
    route_priority,
    route_rule,
    router,
)
from manor.integrations.proxies.traefik.static import ADMIN, entry_point_names

READY = "ready"


def state_file(node: TierNode, service: ServiceView) -> HostPath:
    """Return where the service's traffic is kept."""
    return node.folders.state / f"{service.name}.yaml"


def maintenance_file(node: TierNode, service: ServiceView) -> HostPath:
    """Return the file whose being there shows the maintenance page."""
    return node.folders.state / f"{service.name}.maintenance.yaml"


def traffic_content(node: TierNode, service: ServiceView, traffic: Mapping[str, TrafficState]) -> bytes:
    """Return the service's state file; a server without a state is in maintenance."""
    servers = {state: [one for one in service.servers if traffic.get(one.name) == state] for state in TrafficState}
    http: dict[str, Native] = {"services": dict(service_entries(node, service, servers[TrafficState.READY], servers[TrafficState.DRAIN]))}
    if servers[TrafficState.DRAIN]:
        # A service is only checked while a router names it; this one matches nothing.
        http["routers"] = {server_name(service, one): router([ADMIN], NEVER, 1, server_name(service, one)) for one in servers[TrafficState.DRAIN]}
    return template({"http": http}, f"which servers of {service.name} take traffic; kept by rollouts, not part of the rendered files")


def service_entries(node: TierNode, service: ServiceView, ready: list[SlotServer], drained: list[SlotServer]) -> Iterator[Named]:
    """Yield the services of Traefik that carry one service of the estate."""
    if ready:
        yield service.name, {"failover": {"service": f"{service.name}.{READY}", "fallback": "manor.pages"}}
        yield f"{service.name}.{READY}", balancer(service, ready)
    else:
        yield service.name, our_pages(node)
    for one in drained:
        yield server_name(service, one), balancer(service, [one])


def server_name(service: ServiceView, server: SlotServer) -> str:
    """Return the name of a server's own Traefik service."""
    return f"{service.name}.{server.name}"


def url(server: SlotServer) -> str:
    """Return a server as the API and the files write it."""
    return f"http://{server.address}:{server.port}"


def balancer(service: ServiceView, servers: list[SlotServer]) -> Native:
    """Return a checked load balancer over these servers."""
    return pool([url(one) for one in servers], f"manor.{round(service.response_seconds)}", {"healthCheck": health_check(service)})


def health_check(service: ServiceView) -> Native:
    """Return the http check at the web tier's listener of the slot. Traefik has no counts of passes and failures: each check decides."""
    health = service.health
    return {
        "path": health.http or "/",
        "hostname": service.health_host,
        "headers": {STAMP: service.name},
        "interval": duration(health.interval),
        "unhealthyInterval": duration(health.interval),
        "timeout": duration(min(health.timeout, health.interval)),
        "status": health.status,
        "followRedirects": False,
    }


def maintenance_content(node: TierNode, service: ServiceView) -> bytes:
    """Return routers that answer the service's requests with the maintenance page."""
    rules = [(route_rule(route), route_priority(route)) for route in service.routes] if node.is_first else [(call("Header", STAMP, service.name), 100)]
    points = list(entry_point_names(node))
    name = f"{service.name}.maintenance"
    found: dict[str, Native] = {
        f"{name}{number}": router(points, rule, MAINTENANCE_PRIORITY + priority, NOWHERE, name) for number, (rule, priority) in enumerate(rules)
    }
    middleware = page(503, str(node.folders.pages / "maintenance.html"), 30)
    return template({"http": {"routers": found, "middlewares": {name: middleware}}}, f"{service.name} shows its maintenance page while this file exists")
