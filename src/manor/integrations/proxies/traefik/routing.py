"""The dynamic file that comes from the estate: routers, middlewares, and the way to the next tier.

Invariant: names with a dot after a service's name are that service's; names that begin with `manor.` are the tier's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from manor.estate.model import Redirect
from manor.estate.topology import Endpoint, RouteMatch, ServiceView, TierNode
from manor.integrations.proxies.traefik.native import Native, all_of, any_of, call, dumped, duration, larger_than, template, under
from manor.integrations.proxies.traefik.options import Options
from manor.integrations.proxies.traefik.static import ADMIN, entry_point_names

Named = tuple[str, Native]

STAMP = "X-Manor-Service"
FORGED = ("X-Manor-Body", "X-Manor-Cache", "X-Manor-Slot", "X-Request-Id", "Forwarded", "X-Forwarded-Prefix", "X-Forwarded-Server")
"""Headers of clients that Traefik does not delete by itself; underscores are deleted by `aliasHeadersStrategy`."""
INSIDE = ("X-Manor-Cache", "X-Manor-Service", "X-Manor-Slot")
READS = ("GET", "HEAD", "OPTIONS")
BODIES = ("POST", "PUT", "PATCH", "DELETE")
NOWHERE = "noop@internal"
NEVER = "!" + call("PathPrefix", "/")
MAINTENANCE_PRIORITY = 10_000_000
NEXT_STATUS = 404
"""What every inner tier answers to a request without a stamp: how it is known that the next tier works."""


def dynamic_file(node: TierNode, options: Options) -> bytes:
    """Return `dynamic.yaml`. The last router matches nothing: its name is the digest of the rest, by which the API tells what is loaded."""
    content = dynamic_content(node, options, {})
    marked = dynamic_content(node, options, {marker(content): router([ADMIN], NEVER, 1, NOWHERE)})
    return template(marked, f"{node.log_name}: rendered from the estate; changes here are drift")


def marker(content: Native) -> str:
    """Return the name of the router that stands for this content."""
    return f"manor.rendered-{hashlib.sha256(dumped(content).encode()).hexdigest()[:12]}"


def wanted_marker(node: TierNode, options: Options) -> str:
    """Return the name that the API knows when the process works by the node's files."""
    return marker(dynamic_content(node, options, {}))


def dynamic_content(node: TierNode, options: Options, more: Mapping[str, Native]) -> Native:
    """Return what `dynamic.yaml` says, with more routers."""
    http: dict[str, Native] = {
        "routers": {**dict(routers(node)), **more},
        "middlewares": dict(middlewares(node, options)),
        "services": dict(services(node)),
        "serversTransports": dict(transports(node, options)),
    }
    content: dict[str, Native] = {"http": http}
    if node.is_first and node.tls is not None:
        pair: Native = {"certFile": str(node.tls.certificate), "keyFile": str(node.tls.key)}
        content["tls"] = {"certificates": [pair], "stores": {"default": {"defaultCertificate": pair}}, "options": {"default": {"minVersion": "VersionTLS12"}}}
    return content


def routers(node: TierNode) -> Iterator[Named]:
    """Yield all routers: the tier's own first."""
    yield from own_routers(node)
    for service in node.services:
        yield from (first_routers(node, service) if node.is_first else inner_routers(node, service))


def own_routers(node: TierNode) -> Iterator[Named]:
    """Yield the API, the pages, and the answer to what nobody knows."""
    stamped = call("HeaderRegexp", STAMP, ".+")
    near = any_of((call("ClientIP", "127.0.0.0/8"), call("ClientIP", node.admin_address)))
    # A request that fell back to our 503 page keeps its path and its stamp, so the API must not answer anything stamped.
    yield "manor.api", router([ADMIN], all_of(call("PathPrefix", "/api"), near, f"!{stamped}"), 20, "api@internal")
    yield "manor.ping", router([ADMIN], all_of(call("Path", "/ping"), f"!{stamped}"), 20, "ping@internal")
    yield "manor.503", router([ADMIN], stamped, 10, NOWHERE, "manor.503")
    yield "manor.404", router(list(entry_point_names(node)), call("PathPrefix", "/"), 1, NOWHERE, "manor.404")


def inner_routers(node: TierNode, service: ServiceView) -> Iterator[Named]:
    """Yield the routers of a tier that goes by the stamp."""
    yield from passing(node, service, f"{service.name}.0", call("Header", STAMP, service.name), 100, ("manor.inside",))


def first_routers(node: TierNode, service: ServiceView) -> Iterator[Named]:
    """Yield the routers of each route, those that guard its body limit, and the redirects."""
    points = list(entry_point_names(node))
    for number, route in enumerate(service.routes):
        name, rule, priority = f"{service.name}.{number}", route_rule(route), route_priority(route)
        chain = (f"{service.name}.stamp",)
        yield from passing(node, service, name, rule, priority, chain)
        if route.body_bytes:
            known = call("HeaderRegexp", "Content-Length", larger_than(route.body_bytes))
            yield f"{name}.large", router(points, all_of(rule, known), priority + 5, NOWHERE, "manor.413")
            unknown = all_of(any_of([call("Method", verb) for verb in BODIES]), "!" + call("HeaderRegexp", "Content-Length", "."))
            yield f"{name}.unmeasured", router(points, all_of(rule, unknown), priority + 4, target(node, service), f"{name}.body", *chain, "manor.retry")
    for number, redirect in enumerate(service.redirects):
        yield redirect_router(points, service, number, redirect)


def passing(node: TierNode, service: ServiceView, name: str, rule: str, priority: int, chain: tuple[str, ...]) -> Iterator[Named]:
    """Yield the two routers that pass a rule's requests on: reads may be repeated after a failed connection, others only if nothing was sent."""
    points, passed_to = list(entry_point_names(node)), target(node, service)
    yield name, router(points, rule, priority, passed_to, *chain, "manor.retry")
    reads = any_of([call("Method", verb) for verb in READS])
    yield f"{name}.read", router(points, all_of(rule, reads), priority + 2, passed_to, *chain, "manor.repeat")


def redirect_router(points: list[str], service: ServiceView, number: int, redirect: Redirect) -> Named:
    """Return the router of a redirect: its path and all under it; before a route of the same path."""
    host, slash, path = redirect.from_.partition("/")
    match = RouteMatch((host.lower(),), slash + path or "/")
    name = f"{service.name}.redirect{number}"
    return name, router(points, route_rule(match), route_priority(match) + 7, NOWHERE, name)


def route_rule(route: RouteMatch) -> str:
    """Return the rule of a route."""
    return all_of(any_of([call("Host", host) for host in route.hosts]), under(route.path))


def route_priority(route: RouteMatch) -> int:
    """Return a priority by which the longest path wins; ten apart, so that its own guards fit in between."""
    return 100 + 10 * len(route.path)


def router(points: list[str], rule: str, priority: int, service: str, *chain: str) -> Native:
    """Return one router."""
    found: dict[str, Native] = {"entryPoints": points, "rule": rule, "priority": priority, "service": service}
    if chain:
        found["middlewares"] = list(chain)
    return found


def middlewares(node: TierNode, options: Options) -> Iterator[Named]:
    """Yield the middlewares."""
    yield "manor.404", page(404, str(node.folders.pages / "404.html"))
    yield "manor.503", page(503, str(node.folders.pages / "503.html"))
    yield "manor.413", page(413)
    # Without `status` only what could not be sent at all is tried again; with it also PUT and DELETE would be, hence READS.
    yield "manor.retry", {"retry": {"attempts": 2, "initialInterval": "20ms"}}
    # 3.7.15 sets room for a whole `maxRequestBodyBytes` (2 MB) aside for every request: 450 µs of 600. A read with a larger body is passed on, not repeated.
    yield "manor.repeat", {"retry": {"attempts": 2, "initialInterval": "20ms", "status": ["502"], "maxRequestBodyBytes": 1024}}
    if not node.is_first:
        yield "manor.inside", {"headers": {"customRequestHeaders": {"X-Forwarded-Server": ""}}}
    else:
        for service in node.services:
            yield from service_middlewares(service, options)


def service_middlewares(service: ServiceView, options: Options) -> Iterator[Named]:
    """Yield what a first tier does for one service."""
    yield f"{service.name}.stamp", stamp(service.name)
    for number, route in enumerate(service.routes):
        if route.body_bytes:
            limits: Native = {"maxRequestBodyBytes": route.body_bytes, "memRequestBodyBytes": options.body_in_memory}
            yield f"{service.name}.{number}.body", {"buffering": limits}
    for number, redirect in enumerate(service.redirects):
        yield f"{service.name}.redirect{number}", {"plugin": {"pages": {"status": redirect.status, "location": redirect.to}}}


def stamp(name: str) -> Native:
    """Return the middleware that stamps requests and keeps our headers inside."""
    return {
        "headers": {
            "customRequestHeaders": {STAMP: name, **dict.fromkeys(FORGED, "")},
            "customResponseHeaders": dict.fromkeys(INSIDE, ""),
        }
    }


def page(status: int, file: str = "", retry_after: int = 0) -> Native:
    """Return a middleware that answers by itself, with our page (`pages.go`)."""
    return {"plugin": {"pages": {"status": status, "file": file, "retryAfter": retry_after}}}


def target(node: TierNode, service: ServiceView) -> str:
    """Return the Traefik service that a router of this service passes on to."""
    return service.name if node.is_switching else f"manor.next.{round(service.response_seconds)}"


def services(node: TierNode) -> Iterator[Named]:
    """Yield the way to our pages, and to the next tier with each time-out that is needed."""
    yield "manor.pages", our_pages(node)
    if node.is_switching:
        return
    for seconds in silences(node):
        yield from next_tier(node.next, seconds)


def our_pages(node: TierNode) -> Native:
    """Return the way to the page 503, which the admin entry point gives to every request that has a stamp."""
    return pool([f"http://{node.admin_address}:{node.admin_port}"], None)


def next_tier(endpoints: tuple[Endpoint, ...], seconds: int) -> Iterator[Named]:
    """Yield the services to the next tier: the preferred endpoints, and the others while none of those works."""
    name, transport = f"manor.next.{seconds}", f"manor.{seconds}"
    urls = {backup: [f"http://{one.address}:{one.port}" for one in endpoints if one.backup == backup] for backup in (False, True)}
    if not (urls[False] and urls[True]):
        every = [*urls[False], *urls[True]]
        yield name, pool(every, transport, checked(len(every) > 1))
        return
    yield name, {"failover": {"service": f"{name}.own", "fallback": f"{name}.backup"}}
    yield f"{name}.own", pool(urls[False], transport, checked(True))
    yield f"{name}.backup", pool(urls[True], transport, checked(len(urls[True]) > 1))


def checked(is_checked: bool) -> dict[str, Native]:
    """Return the check of a next tier. A single endpoint has none: an answer of it is better than one of ours."""
    if not is_checked:
        return {}
    return {"healthCheck": {"path": "/", "interval": "2s", "unhealthyInterval": "1s", "timeout": "1s", "status": NEXT_STATUS, "followRedirects": False}}


def pool(urls: list[str], transport: str | None, more: dict[str, Native] | None = None) -> Native:
    """Return a load balancer."""
    content: dict[str, Native] = {"servers": [{"url": url} for url in urls], "passHostHeader": True, **(more or {})}
    if transport:
        content["serversTransport"] = transport
    return {"loadBalancer": content}


def silences(node: TierNode) -> tuple[int, ...]:
    """Return the different longest silences of the tier's services, in seconds."""
    return tuple(sorted({round(service.response_seconds) for service in node.services} or {60}))


def transports(node: TierNode, options: Options) -> Iterator[Named]:
    """Yield one set of connections for each longest silence."""
    for seconds in silences(node):
        times = {"dialTimeout": duration(options.dial_timeout), "responseHeaderTimeout": f"{seconds}s", "idleConnTimeout": duration(node.send_idle_seconds)}
        yield f"manor.{seconds}", {"maxIdleConnsPerHost": options.idle_connections, "disableHTTP2": True, "forwardingTimeouts": times}
