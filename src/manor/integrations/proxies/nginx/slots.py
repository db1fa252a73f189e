"""The slot listeners of the web tier: static files of both slots, then the program (docs/traffic.md).

Vendor's page: https://nginx.org/en/docs/http/ngx_http_proxy_module.html
"""

from __future__ import annotations

import re

from manor.estate.model import Static
from manor.estate.timeouts import pause_seconds, service_idle_seconds
from manor.estate.topology import ServiceView, SlotServer, TierNode
from manor.integrations.proxies.nginx import names
from manor.integrations.proxies.nginx.options import NginxOptions
from manor.integrations.proxies.nginx.quoting import Block, identifier, path, seconds, url_path, value, word

PROGRAM = "@manor_program"
LIMITED = "@manor_body_"
MEASURED = 541
"""A status that no answer has; it only leads to a location."""
REST_MARK = "@rest@"


def upstreams(node: TierNode, options: NginxOptions) -> tuple[Block, ...]:
    """Return an upstream for every slot's program on this host."""
    return tuple(upstream(node, server, service, options) for service in node.services for server in own_servers(node, service) if server.service_port)


def own_servers(node: TierNode, service: ServiceView) -> tuple[SlotServer, ...]:
    """Return the slots on this host."""
    return tuple(server for server in service.servers if server.host == node.host)


def upstream(node: TierNode, server: SlotServer, service: ServiceView, options: NginxOptions) -> Block:
    """Return the upstream of a program, with kept connections only if its idle limit is known."""
    kept = kept_seconds(service)
    keeping = (f"keepalive {options.kept};", f"keepalive_timeout {seconds(kept)};", "keepalive_requests 1000000;") if kept else ()
    return Block(f"upstream {names.program(node, server, service)}", (f"server {word(f'{server.address}:{server.service_port}')} max_fails=0;", *keeping))


def kept_seconds(service: ServiceView) -> float | None:
    """Return how long an idle connection to the program is kept; None: not at all."""
    return service_idle_seconds(service.keep_alive_seconds)


def slot_servers(node: TierNode, options: NginxOptions) -> tuple[Block, ...]:
    """Return a listener for every slot on this host."""
    return tuple(slot_server(node, service, server, options) for service in node.services for server in own_servers(node, service))


def slot_server(node: TierNode, service: ServiceView, server: SlotServer, options: NginxOptions) -> Block:
    """Return the listener of a slot."""
    return Block(
        "server",
        (
            f"listen {word(f'{server.address}:{server.port}')};",
            "access_log off;" if node.is_first else "",
            f"set $manor_service {identifier(service.name)};",
            f"set $manor_slot {server.slot};",
            f"add_header X-Manor-Slot {server.slot} always;",
            f"client_max_body_size {body_limit(service)};",
            f"client_body_timeout {seconds(body_pause(service))};",
            f"error_page {MEASURED} = {LIMITED}$http_x_manor_body;" if body_limits(service) else "",
            *static_locations(node, service, server),
            *program_locations(node, service, server, options),
            *limited_locations(node, service, server, options),
            *verbatim(service),
        ),
    )


def body_limit(service: ServiceView) -> int:
    """Return the largest body that any of its routes takes; 0: no limit."""
    limits = [route.body_bytes for route in service.routes]
    return max((limit for limit in limits if limit), default=0) if limits and None not in limits else 0


def body_limits(service: ServiceView) -> tuple[int, ...]:
    """Return the different limits of its routes for which there is a program to guard; the first tier stamps the one that holds."""
    return tuple(sorted({route.body_bytes for route in service.routes if route.body_bytes})) if service.has_program else ()


def measuring(service: ServiceView) -> tuple[str, ...]:
    """Return what sends a request with a stamped limit to the location that measures its body: only a location can have a limit."""
    limits = "|".join(map(str, body_limits(service)))
    return (f'if ($http_x_manor_body ~ "^(?:{limits})$") {{ return {MEASURED}; }}',) if limits else ()


def limited_locations(node: TierNode, service: ServiceView, server: SlotServer, options: NginxOptions) -> tuple[Block, ...]:
    """Return a location for each limit, which passes on like any other."""
    passing = pass_lines(node, service, server, options)
    return tuple(Block(f"location {LIMITED}{limit}", (f"client_max_body_size {limit};", *passing)) for limit in body_limits(service))


def body_pause(service: ServiceView) -> float:
    """Return how long a body may pause."""
    return pause_seconds({route.class_ for route in service.routes})


def static_locations(node: TierNode, service: ServiceView, server: SlotServer) -> tuple[Block, ...]:
    """Return the locations of static files; expressions are tried in order, so the longest path comes first."""
    ordered = sorted(service.static, key=lambda static: (-len(static.path.rstrip("/")), static.path))
    return tuple(static_location(node, service, server, static) for static in ordered)


def static_location(node: TierNode, service: ServiceView, server: SlotServer, static: Static) -> Block:
    """Return a location that looks into this slot's release first, then into the other's."""
    prefix = static.path.rstrip("/")
    url_path(prefix or "/")
    other = "b" if server.slot == "a" else "a"
    ends = ("",) if service.has_program else ("", "/index.html")
    tries = [rest_of(f"/{slot}/{static.dir}/", end) for end in ends for slot in (server.slot, other)]
    fallback = PROGRAM if server.service_port else "=404"
    return Block(
        f"location ~ {word(f'(?s)^{re.escape(prefix)}/(?<manor_rest>.*)$')}",
        (f"root {path(node.folders.slots / identifier(service.name))};", f"try_files {' '.join(tries)} {fallback};"),
    )


def rest_of(folder: str, end: str) -> str:
    """Return a folder, what is left of the path, and an end, as one word."""
    return value(f"{folder}{REST_MARK}{end}").replace(REST_MARK, "${manor_rest}")


def program_locations(node: TierNode, service: ServiceView, server: SlotServer, options: NginxOptions) -> tuple[Block, ...]:
    """Return the locations that pass on to the program."""
    if not server.service_port:
        return (Block("location /", ("return 404;",)),) if not any(static.path == "/" for static in service.static) else ()
    passing = (*measuring(service), *pass_lines(node, service, server, options))
    named = (Block(f"location {PROGRAM}", passing),) if service.static else ()
    return (Block("location /", passing), *named)


def pass_lines(node: TierNode, service: ServiceView, server: SlotServer, options: NginxOptions) -> tuple[str, ...]:
    """Return the directives that pass a request on to the program."""
    is_streaming = any(route.class_ in ("stream", "websocket") for route in service.routes)
    return (
        f"proxy_pass http://{names.program(node, server, service)};",
        "proxy_set_header Host $http_host;",
        'proxy_set_header X-Manor-Body "";' if body_limits(service) else "",
        "proxy_set_header Upgrade $http_upgrade;",
        f"proxy_set_header Connection {'$manor_kept' if kept_seconds(service) else '$manor_single'};",
        "proxy_set_header X-Request-Id $manor_id;" if node.request_id == "from_trace" else "",
        f"proxy_connect_timeout {seconds(options.connect_timeout)};",
        f"proxy_read_timeout {seconds(service.response_seconds)};",
        f"proxy_send_timeout {seconds(body_pause(service))};",
        "proxy_buffering off;" if is_streaming else "",
    )


def verbatim(service: ServiceView) -> tuple[str, ...]:
    """Return what the service's owner adds to the listener."""
    return tuple(service.extra.get("nginx", {}).get("server", b"").decode().splitlines())
