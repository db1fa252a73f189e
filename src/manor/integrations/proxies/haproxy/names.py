"""Names and paths that the configuration, the runtime acts and the parsers of HAProxy agree on.

Invariant: our own sections begin with `_`, so no service can be called like one.
"""

from __future__ import annotations

from zlib import crc32

from manor.estate.topology import ServiceView, TierNode
from manor.execution.values import HostPath
from manor.integrations.proxies.haproxy.quoting import identifier

FRONT = "_front"
NEXT = "_next"
CONFIG = "haproxy.cfg"
ROUTES = "routes.map"
SERVICES = "services.lst"
PAGE_SERVER = "page"


def backend(service: ServiceView) -> str:
    """Return the backend of a service at the switching tier."""
    return identifier(service.name)


def page_backend(service: ServiceView) -> str:
    """Return the backend whose only server is up while the maintenance page is to be shown."""
    return identifier(f"{service.name}.maintenance")


def number(name: str) -> int:
    """Return a section's number: fixed by its name, so that state files fit whatever else is declared."""
    return 10_000 + crc32(name.encode()) % 2_000_000_000


def admin_socket(node: TierNode) -> HostPath:
    """Return the worker's runtime socket."""
    return node.folders.sockets / f"{node.key}.sock"


def master_socket(node: TierNode) -> HostPath:
    """Return the master's socket."""
    return node.folders.sockets / f"{node.key}.m"


def state_file(service: ServiceView) -> str:
    """Return the state file of a service's servers, under the tier's state folder."""
    return f"{identifier(service.name)}/servers"


def page_state_file(service: ServiceView) -> str:
    """Return the file whose being there shows the maintenance page after a restart, too."""
    return f"{identifier(service.name)}/maintenance"
