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
LOADED = "_is."
CONFIG = "haproxy.cfg"
ROUTES = "routes.map"
SERVICES = "services.lst"
PAGE_SERVER = "page"


def front(node: TierNode) -> str:
    """Return the frontend's name."""
    return f"{node.mark}{FRONT}"


def next_tier(node: TierNode) -> str:
    """Return the backend of the tier after this one."""
    return f"{node.mark}{NEXT}"


def shared(node: TierNode) -> str:
    """Return the name of our defaults in a program of somebody else."""
    return f"{node.mark}_defaults"


def loaded(node: TierNode, digest: str) -> str:
    """Return the backend whose being there says, in a program of somebody else, that it works by the files with this digest."""
    return f"{node.mark}{LOADED}{digest}"


def backend(node: TierNode, service: ServiceView) -> str:
    """Return the backend of a service at the switching tier."""
    return f"{node.mark}{identifier(service.name)}"


def page_backend(node: TierNode, service: ServiceView) -> str:
    """Return the backend whose only server is up while the maintenance page is to be shown."""
    return f"{node.mark}{identifier(f'{service.name}.maintenance')}"


def number(name: str) -> int:
    """Return a section's number: fixed by its name, so that state files fit whatever else is declared."""
    return 10_000 + crc32(name.encode()) % 2_000_000_000


def admin_socket(node: TierNode) -> HostPath:
    """Return the worker's runtime socket."""
    theirs = node.theirs.socket if node.theirs else None
    return theirs or node.folders.sockets / f"{node.key}.sock"


def master_socket(node: TierNode) -> HostPath:
    """Return the master's socket."""
    return node.folders.sockets / f"{node.key}.m"


def config(node: TierNode) -> str:
    """Return the name of the configuration; beside other people's it is to be read last, because of its defaults."""
    return CONFIG if node.theirs is None else f"zz-{node.own_name}.cfg"


def list_file(node: TierNode, name: str) -> str:
    """Return how the configuration names a list beside it; other people's may look for relative names elsewhere."""
    return name if node.theirs is None else str(node.folders.etc / name)


def state_file(service: ServiceView) -> str:
    """Return the state file of a service's servers, under the tier's state folder."""
    return f"{identifier(service.name)}/servers"


def page_state_file(service: ServiceView) -> str:
    """Return the file whose being there shows the maintenance page after a restart, too."""
    return f"{identifier(service.name)}/maintenance"


def state_name(node: TierNode, file: str) -> str:
    """Return how the configuration names a state file: from our `server-state-base`, which other people's programs don't have."""
    return file if node.theirs is None else str(node.folders.state / file)
