"""What is pasted once into a HAProxy that somebody else runs, and how what it shows differs from that (`manage: runtime`).

Invariant: no file of Manor's is named; the servers begin by their health checks, since after a reload nobody remembers their state.
Vendor's page: https://docs.haproxy.org/2.6/management.html#9.3 (show servers state)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from manor.estate.timeouts import tunnel_seconds
from manor.estate.topology import ServiceView, TierNode
from manor.integrations.proxies.base import RenderedFile
from manor.integrations.proxies.haproxy import names
from manor.integrations.proxies.haproxy.backends import check_lines, check_words, server_line
from manor.integrations.proxies.haproxy.front import extra_lines, no_repeats
from manor.integrations.proxies.haproxy.options import HAProxyOptions, load_options
from manor.integrations.proxies.haproxy.quoting import block, map_key, milliseconds, word

COLUMNS = 25
CHECKED = 0x02
"""CHK_ST_CONFIGURED: the bit of `srv_check_state` that says that a check is declared."""


class Shown(NamedTuple):
    """A server as their program shows it."""

    address: str
    is_checked: bool


def paste(node: TierNode) -> tuple[RenderedFile, ...]:
    """Return what is pasted."""
    options = load_options(node.options, node.subject)
    sections = [section for service in node.services for section in (backend(node, service, options), page_flag(node, service))]
    return (RenderedFile(names.CONFIG, "\n".join((introduction(node), *sections)).encode()),)


def introduction(node: TierNode) -> str:
    """Return how it is used, as comments."""
    routes = [(service, route, host) for service in node.services for route in service.routes for host in route.hosts]
    return "".join(
        (
            f"# {node.log_name}: paste these backends into your configuration and reload it once; Manor switches their servers over your socket.\n",
            "# In your frontend, after your own rules for headers (docs/ownership.md):\n",
            *(f"#   use_backend {names.backend(node, service)} if {condition(host, route.path)}\n" for service, route, host in routes),
        )
    )


def condition(host: str, path: str) -> str:
    """Return the condition of a route; the path matches by whole segments."""
    named = f"{{ req.hdr(host),field(1,:),lower -m str {map_key(host)} }}"
    below = path.rstrip("/")
    return f"{named} {{ path,concat(/) -m beg {word(below)}/ }}" if below else named


def backend(node: TierNode, service: ServiceView, options: HAProxyOptions) -> str:
    """Return the backend of a service, complete in itself: their defaults are not known."""
    page = names.page_backend(node, service)
    return block(
        f"backend {names.backend(node, service)}",
        (
            "mode http",
            f"balance {options.balance}",
            f"timeout connect {milliseconds(options.connect_timeout)}",
            f"timeout server {milliseconds(service.response_seconds)}",
            f"timeout tunnel {milliseconds(tunnel_seconds())}",
            f"timeout queue {milliseconds(options.queue_timeout)}",
            f"timeout check {milliseconds(service.health.timeout)}",
            "option redispatch 1",
            "retries 3",
            "retry-on conn-failure empty-response 502",
            *no_repeats(),
            "http-reuse always",
            f"http-request return status 503 content-type text/plain string maintenance hdr Retry-After 30 if {{ nbsrv({page}) gt 0 }}",
            "http-response del-header ^x-manor- -m reg",
        ),
        check_lines(service),
        extra_lines(service.extra.get("haproxy", {}).get("backend", b"")),
        (f"default-server {check_words(service.health)} weight 100 pool-purge-delay {milliseconds(options.purge_delay)}",),
        tuple(server_line(service, server, index).removesuffix(" disabled") for index, server in enumerate(service.servers, start=1)),
    )


def page_flag(node: TierNode, service: ServiceView) -> str:
    """Return the backend that gets no traffic: its server is ready while there is maintenance."""
    return block(f"backend {names.page_backend(node, service)}", ("mode http", f"server {names.PAGE_SERVER} 127.0.0.1:1 id 1 disabled"))


def differences(node: TierNode, text: str) -> tuple[str, ...]:
    """Return how `show servers state` differs from what was to be pasted."""
    shown = servers_of(text)
    return tuple(problem for service in node.services for problem in differing(node, service, shown))


def differing(node: TierNode, service: ServiceView, shown: dict[str, dict[str, Shown]]) -> Iterator[str]:
    """Yield how one service's backends differ."""
    name, page = names.backend(node, service), names.page_backend(node, service)
    if page not in shown:
        yield f"your haproxy has no backend {page} with its server; paste what `manor render` writes, and reload"
    if name not in shown:
        yield f"your haproxy has no backend {name} with servers; paste what `manor render` writes, and reload"
        return
    found = shown[name]
    for server in service.servers:
        one, wanted = found.get(server.name), f"{server.address}:{server.port}"
        if one is None:
            yield f"{name} has no server {server.name}; add `{server_line(service, server, service.servers.index(server) + 1).removesuffix(' disabled')}`"
        elif one.address != wanted:
            yield f"{name}/{server.name} is {one.address}, and has to be {wanted}"
        elif not one.is_checked:
            yield f"{name}/{server.name} has no `check`; without it traffic goes to a slot that is stopped"
    for other in sorted(found.keys() - {server.name for server in service.servers}):
        yield f"{name} has a server {other} that is not Manor's; take it out, it would get a share of the traffic"


def servers_of(text: str) -> dict[str, dict[str, Shown]]:
    """Return the servers of each backend from `show servers state`."""
    found: dict[str, dict[str, Shown]] = {}
    for row in (line.split() for line in text.splitlines()):
        if len(row) >= COLUMNS and row[0].isdigit():
            found.setdefault(row[1], {})[row[3]] = Shown(f"{row[4]}:{row[18]}", bool(int(row[13]) & CHECKED))
    return found
