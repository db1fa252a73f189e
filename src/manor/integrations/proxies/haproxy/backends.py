"""The backends: one a service at the switching tier, else one for the next tier (docs/traffic.md).

Invariant: a switching tier's servers are all in the file and all `disabled`; state files and the runtime socket say which take traffic.
Vendor's page: https://docs.haproxy.org/2.6/configuration.html#5.2
"""

from __future__ import annotations

from manor.estate.model import Health
from manor.estate.timeouts import silence_seconds, tunnel_seconds
from manor.estate.topology import Endpoint, ServiceView, SlotServer, TierNode
from manor.integrations.proxies.haproxy import names
from manor.integrations.proxies.haproxy.front import HTML, extra_lines
from manor.integrations.proxies.haproxy.options import HAProxyOptions
from manor.integrations.proxies.haproxy.quoting import block, identifier, log_format, milliseconds, word

SERVER_NAME_BYTES = 64


def backends(node: TierNode, options: HAProxyOptions) -> tuple[str, ...]:
    """Return the backend sections."""
    if not node.is_switching:
        return (next_tier(node, options),)
    return tuple(section for service in node.services for section in (service_backend(node, service, options), page_flag(node, service)))


def service_backend(node: TierNode, service: ServiceView, options: HAProxyOptions) -> str:
    """Return the backend of a service, with both slots of every instance."""
    name = names.backend(node, service)
    page = word(node.folders.pages / "maintenance.html")
    return block(
        titled(node, name),
        (
            f"id {names.number(name)}",
            f"balance {options.balance}",
            f"timeout server {milliseconds(service.response_seconds)}",
            f"timeout check {milliseconds(service.health.timeout)}",
            *kept_state(node, names.state_file(service)),
            f"http-request return status 503 content-type {word(HTML)} file {page} hdr Retry-After 30 if {{ nbsrv({names.page_backend(node, service)}) gt 0 }}",
        ),
        websocket_lines(node, service),
        check_lines(service),
        extra_lines(service.extra.get("haproxy", {}).get("backend", b"")),
        (f"default-server {check_words(service.health)} weight 100 pool-purge-delay {milliseconds(options.purge_delay)}",),
        tuple(server_line(service, server, index) for index, server in enumerate(service.servers, start=1)),
    )


def websocket_lines(node: TierNode, service: ServiceView) -> tuple[str, ...]:
    """Return what counts the open WebSockets of each server, where a route is for them: a connection that was upgraded is tracked until its end."""
    return (f"http-response track-sc2 srv_name table {names.page_backend(node, service)} if {{ status 101 }}",) if service.has_websockets else ()


def websocket_table(service: ServiceView) -> tuple[str, ...]:
    """Return the table of these counts, apart from the service's own backend: `extra` may have one there."""
    return (f"stick-table type string len {SERVER_NAME_BYTES} size {4 * len(service.servers)} store conn_cur",) if service.has_websockets else ()


def server_line(service: ServiceView, server: SlotServer, number: int) -> str:
    """Return the line of a slot."""
    checks_program = service.health.http is None and server.service_port is not None
    port = f" port {server.service_port}" if checks_program else ""
    return f"server {identifier(server.name)} {word(f'{server.address}:{server.port}')} id {number} check{port} disabled"


def check_lines(service: ServiceView) -> tuple[str, ...]:
    """Return how a server is asked whether it works; nothing: by connecting to the program's own port."""
    if service.health.http is None:
        return ()
    headers = f"hdr Host {log_format(service.health_host)} hdr X-Manor-Service {log_format(service.name)}"
    return (
        "option httpchk",
        f"http-check send meth GET uri {word(service.health.http)} ver HTTP/1.1 {headers}",
        f"http-check expect status {service.health.status}",
    )


def check_words(health: Health) -> str:
    """Return the rhythm of checks; four times as often while a server is changing."""
    fast = min(health.interval, max(0.1, health.interval / 4))
    inter = f"inter {milliseconds(health.interval)} fastinter {milliseconds(fast)}"
    return f"{inter} rise {health.passes} fall {health.fails}"


def titled(node: TierNode, name: str) -> str:
    """Return how a backend begins; among other people's sections it says whose defaults are its own."""
    return f"backend {name}" if node.theirs is None else f"backend {name} from {names.shared(node)}"


def kept_state(node: TierNode, file: str) -> tuple[str, ...]:
    """Return where the servers' state is read from at start and reload; nowhere where Manor may write no file."""
    return ("load-server-state-from-file local", f"server-state-file-name {word(names.state_name(node, file))}") if node.has_files else ()


def page_flag(node: TierNode, service: ServiceView) -> str:
    """Return the backend that gets no traffic: its server is ready while the maintenance page is to be shown."""
    name = names.page_backend(node, service)
    return block(
        titled(node, name),
        websocket_table(service),
        (
            f"id {names.number(name)}",
            *kept_state(node, names.page_state_file(service)),
            f"server {names.PAGE_SERVER} 127.0.0.1:1 id 1 disabled",
        ),
    )


def next_tier(node: TierNode, options: HAProxyOptions) -> str:
    """Return the backend of the tier after this one: own host first, the others as backup."""
    return block(
        titled(node, names.next_tier(node)),
        (f"balance {options.balance}", "option allbackups", "timeout check 1000ms"),
        class_timeouts(node),
        service_timeouts(node),
        (f"default-server check inter 1s fastinter 200ms rise 2 fall 2 weight 100 pool-purge-delay {milliseconds(options.purge_delay)}",),
        tuple(endpoint_line(endpoint) for endpoint in node.next),
    )


def endpoint_line(endpoint: Endpoint) -> str:
    """Return the line of the next tier on a host."""
    backup = " backup" if endpoint.backup else ""
    return f"server {identifier(endpoint.name)} {word(f'{endpoint.address}:{endpoint.port}')}{backup}"


def class_timeouts(node: TierNode) -> tuple[str, ...]:
    """Return the longer silence that some classes of routes may keep; only the first tier knows classes."""
    if not node.is_first:
        return ()
    return (
        f"http-request set-timeout server {milliseconds(silence_seconds({'upload'}))} if {{ var(txn.class) -m str upload }}",
        f"http-request set-timeout server {milliseconds(tunnel_seconds())} if {{ var(txn.class) -m str websocket stream }}",
    )


def service_timeouts(node: TierNode) -> tuple[str, ...]:
    """Return the longer silence that some services may keep, at a tier that knows only stamps."""
    if node.is_first:
        return ()
    return tuple(
        f"http-request set-timeout server {milliseconds(service.response_seconds)} if {{ var(txn.service) -m str -- {identifier(service.name)} }}"
        for service in node.services
        if service.response_seconds != silence_seconds({"page"})
    )
