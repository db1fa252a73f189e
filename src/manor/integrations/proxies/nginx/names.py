"""Names and paths that the configuration, the acts and the parsers of nginx agree on."""

from __future__ import annotations

from manor.estate.topology import ServiceView, SlotServer, TierNode, TrafficState
from manor.execution.values import HostPath
from manor.integrations.proxies.nginx.quoting import identifier

CONFIG = "nginx.conf"
TYPES = "mime.types"
PAGES = "/.manor-pages/"
"""Where our own pages are, internally; a service can't have this path."""


def config(node: TierNode) -> str:
    """Return the name of the configuration."""
    return CONFIG if node.theirs is None else f"{node.own_name}.conf"


def log_format(node: TierNode) -> str:
    """Return the name of the access log's format."""
    return "manor" if node.theirs is None else f"{node.mark}log"


def tls_cache(node: TierNode) -> str:
    """Return the name of the zone that keeps TLS sessions."""
    return "manor" if node.theirs is None else f"{node.mark}tls"


def pid_file(node: TierNode) -> HostPath:
    """Return where the master writes its pid."""
    return node.folders.run / "nginx.pid"


def program(node: TierNode, server: SlotServer, service: ServiceView) -> str:
    """Return the upstream of a slot's program."""
    return f"{node.mark}{identifier(service.name)}.program.{server.slot}"


def listener(node: TierNode, server: SlotServer, service: ServiceView) -> str:
    """Return the upstream of a slot's listener, which the first tier of a chain of nginx alone passes on to."""
    return f"{slot_listener(node, service)}{server.slot}"


def slot_listener(node: TierNode, service: ServiceView) -> str:
    """Return the beginning of the names of the upstreams of a service's slots."""
    return f"{node.mark}{identifier(service.name)}.slot."


def flag(node: TierNode, service: ServiceView, slot: str, state: TrafficState) -> HostPath:
    """Return the flag file whose being there says how a slot is treated; neither is maintenance."""
    return node.folders.state / identifier(service.name) / f"{slot}.{state.value}"


def page_flag(node: TierNode, service: ServiceView) -> HostPath:
    """Return the flag file that shows the maintenance page."""
    return node.folders.state / identifier(service.name) / "maintenance"
