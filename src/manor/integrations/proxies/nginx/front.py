"""nginx as the only tier: matches routes, stamps, and switches its own host's slots by flag files (docs/traffic.md).

Invariant: flags are looked for at each request, so a switch needs no reload.
Vendor's page: https://nginx.org/en/docs/http/ngx_http_rewrite_module.html#if
"""

from __future__ import annotations

from dataclasses import dataclass

from manor.estate.model import Redirect
from manor.estate.timeouts import pause_seconds, silence_seconds
from manor.estate.topology import RouteMatch, ServiceView, TierNode, TrafficState
from manor.integrations.proxies.nginx import names
from manor.integrations.proxies.nginx.options import NginxOptions
from manor.integrations.proxies.nginx.quoting import Block, host_name, identifier, path, seconds, url_path, value, word
from manor.integrations.proxies.nginx.slots import own_servers

FORGED = ("Forwarded", "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Manor-Body", "X-Manor-Cache", "X-Manor-Host", "X-Manor-Release", "X-Manor-Slot")
HIDDEN = ("X-Manor-Cache", "X-Manor-Host", "X-Manor-Release", "X-Manor-Service", "X-Manor-Slot")


@dataclass(frozen=True)
class Place:
    """What stands at a path of a host."""

    path: str
    service: ServiceView
    route: RouteMatch | None
    redirect: Redirect | None = None


def front_upstreams(node: TierNode, options: NginxOptions) -> tuple[Block, ...]:
    """Return an upstream for every slot's own listener."""
    return tuple(
        Block(
            f"upstream {names.listener(node, server, service)}",
            (
                f"server {word(f'{server.address}:{server.port}')} max_fails=0;",
                f"keepalive {options.kept};",
                f"keepalive_timeout {seconds(node.send_idle_seconds)};",
                "keepalive_requests 1000000;",
            ),
        )
        for service in node.services
        for server in own_servers(node, service)
    )


def front_servers(node: TierNode, options: NginxOptions) -> tuple[Block, ...]:
    """Return the server of each host name, and the one that answers 404 to all other names."""
    return (default_server(node), *(host_server(node, host, places, options) for host, places in sorted(hosts(node).items())))


def default_server(node: TierNode) -> Block:
    """Return the server for unknown names."""
    return Block("server", (*listens(node, " default_server"), 'set $manor_service "";', *pages(node), Block("location /", ("return 404;",))))


def hosts(node: TierNode) -> dict[str, list[Place]]:
    """Return what stands at each host name."""
    found: dict[str, list[Place]] = {}
    for service in node.services:
        for route in service.routes:
            for host in route.hosts:
                found.setdefault(host_name(host), []).append(Place(route.path.rstrip("/"), service, route))
        for redirect in service.redirects:
            host, slash, rest = redirect.from_.removeprefix("https://").removeprefix("http://").partition("/")
            found.setdefault(host_name(host.lower()), []).append(Place((slash + rest).rstrip("/"), service, None, redirect))
    return found


def host_server(node: TierNode, host: str, places: list[Place], options: NginxOptions) -> Block:
    """Return the server of a host name."""
    unique = {place.path: place for place in places}
    ordered = [unique[where] for where in sorted(unique)]
    rest = () if "" in unique else (Block("location /", ("return 404;",)),)
    return Block(
        "server",
        (
            *listens(node),
            f"server_name {host};",
            'set $manor_service "";',
            f"client_header_timeout {seconds(options.header_timeout)};",
            *pages(node),
            *proxy_headers(),
            *(location for place in ordered for location in locations(node, place)),
            *rest,
        ),
    )


def listens(node: TierNode, suffix: str = "") -> tuple[str, ...]:
    """Return the lines of the listeners."""
    return tuple(f"listen {word(f'{one.address}:{one.port}')}{' ssl http2' if one.tls else ''}{suffix};" for one in node.listeners)


def pages(node: TierNode) -> tuple[Block | str, ...]:
    """Return our own pages; a location of URIs, since in named ones a POST would get 405."""
    folder = path(f"{node.folders.pages}/")
    return (
        f"error_page 404 {names.PAGES}404.html;",
        f"error_page 502 503 =503 {names.PAGES}503.html;",
        f"error_page 590 =503 {names.PAGES}maintenance.html;",
        Block(f"location ^~ {names.PAGES}", ("internal;", f"alias {folder};", "types {}", 'default_type "text/html; charset=utf-8";')),
        Block(
            f"location = {names.PAGES}maintenance.html",
            (
                "internal;",
                f"alias {path(node.folders.pages / 'maintenance.html')};",
                "types {}",
                'default_type "text/html; charset=utf-8";',
                "add_header Retry-After 30 always;",
            ),
        ),
    )


def proxy_headers() -> tuple[str, ...]:
    """Return what is set and deleted on the way in, and hidden on the way out.

    Spellings with underscores never get here: with `underscores_in_headers off` nginx drops them.
    """
    return (
        "proxy_set_header Host $http_host;",
        "proxy_set_header Connection $manor_kept;",
        "proxy_set_header Upgrade $http_upgrade;",
        "proxy_set_header X-Manor-Service $manor_service;",
        "proxy_set_header X-Request-Id $request_id;",
        "proxy_set_header X-Forwarded-For $remote_addr;",
        "proxy_set_header X-Real-IP $remote_addr;",
        "proxy_set_header X-Forwarded-Proto $scheme;",
        "proxy_set_header X-Forwarded-Host $http_host;",
        "proxy_set_header X-Forwarded-Port $server_port;",
        *(f'proxy_set_header {name} "";' for name in FORGED),
        *(f"proxy_hide_header {name};" for name in HIDDEN),
    )


def locations(node: TierNode, place: Place) -> tuple[Block, ...]:
    """Return the locations of a path: itself, and all under it by whole segments."""
    lines = moved(place.redirect) if place.redirect else passing(node, place)
    if place.path == "":
        return (Block("location /", lines),)
    return (Block(f"location = {url_path(place.path)}", lines), Block(f"location ^~ {url_path(place.path + '/')}", lines))


def moved(redirect: Redirect) -> tuple[str, ...]:
    """Return the answer of a redirect."""
    return (f"return {redirect.status} {value(redirect.to)};",)


def passing(node: TierNode, place: Place) -> tuple[Block | str, ...]:
    """Return what chooses the slot by its flag and passes on to its listener."""
    service, route = place.service, place.route
    class_ = route.class_ if route else "page"
    return (
        f"set $manor_service {identifier(service.name)};",
        'set $manor_slot "";',
        *(f"if (-f {path(names.flag(node, service, slot, TrafficState.READY))}) {{ set $manor_slot {slot}; }}" for slot in ("a", "b")),
        f"if (-f {path(names.page_flag(node, service))}) {{ return 590; }}",
        'if ($manor_slot = "") { return 503; }',
        f"client_max_body_size {route.body_bytes or 0 if route else 0};",
        f"client_body_timeout {seconds(pause_seconds({class_}))};",
        f"proxy_read_timeout {seconds(silence_seconds({class_}))};",
        f"proxy_send_timeout {seconds(pause_seconds({class_}))};",
        "proxy_buffering off;" if class_ in ("stream", "websocket") else "",
        f"proxy_pass http://{names.slot_listener(node, service)}$manor_slot;",
    )


def switch_location(node: TierNode, service: ServiceView) -> Block:
    """Return the admin location that tells how the running process treats the slots, by looking as a request does."""
    lines = [line for slot in ("a", "b") for line in told(node, service, slot)]
    page = ("set $manor_told_page off;", f"if (-f {path(names.page_flag(node, service))}) {{ set $manor_told_page on; }}")
    answer = 'return 200 "a=$manor_told_a b=$manor_told_b maintenance=$manor_told_page\\n";'
    return Block(f"location = /switch/{identifier(service.name)}", (*lines, *page, answer))


def told(node: TierNode, service: ServiceView, slot: str) -> tuple[str, ...]:
    """Return the lines that find out the state of a slot."""
    drain, ready = names.flag(node, service, slot, TrafficState.DRAIN), names.flag(node, service, slot, TrafficState.READY)
    return (
        f"set $manor_told_{slot} maint;",
        f"if (-f {path(drain)}) {{ set $manor_told_{slot} drain; }}",
        f"if (-f {path(ready)}) {{ set $manor_told_{slot} ready; }}",
    )
