"""Names and paths that the configuration, the acts and the parsers of nginx agree on."""

from __future__ import annotations

from manor.estate.topology import ServiceView, SlotServer, TierNode, TrafficState
from manor.execution.values import HostPath
from manor.integrations.proxies.nginx.quoting import identifier

CONFIG = "nginx.conf"
TYPES = "mime.types"
PAGES = "/.manor-pages/"
"""Where our own pages are, internally; a service can't have this path."""


def pid_file(node: TierNode) -> HostPath:
    """Return where the master writes its pid."""
    return node.folders.run / "nginx.pid"


def program(server: SlotServer, service: ServiceView) -> str:
    """Return the upstream of a slot's program."""
    return f"{identifier(service.name)}.program.{server.slot}"


def listener(server: SlotServer, service: ServiceView) -> str:
    """Return the upstream of a slot's listener, which the first tier of a chain of nginx alone passes on to."""
    return f"{identifier(service.name)}.slot.{server.slot}"


def flag(node: TierNode, service: ServiceView, slot: str, state: TrafficState) -> HostPath:
    """Return the flag file whose being there says how a slot is treated; neither is maintenance."""
    return node.folders.state / identifier(service.name) / f"{slot}.{state.value}"


def page_flag(node: TierNode, service: ServiceView) -> HostPath:
    """Return the flag file that shows the maintenance page."""
    return node.folders.state / identifier(service.name) / "maintenance"
