"""The one table of ports (docs/ports.md).

Invariant: a port follows from the service or the tier's place alone, so that it is the same on every host.
"""

from __future__ import annotations

from manor.estate.model import Service

FIRST_PLAIN_LOCAL = 8080
FIRST_TLS_LOCAL = 8443
FIRST_PLAIN = 80
FIRST_TLS = 443
WEB_OFFSET = 10_000


def tier_port(place: int) -> int:
    """Return the port that an inner tier at this place (0 is the outermost) listens on."""
    return 9000 + 10 * place


def admin_port(place: int) -> int:
    """Return the port of a tier's admin side."""
    return 9005 + 10 * place


def first_ports(*, is_local: bool) -> tuple[int, int]:
    """Return the first tier's plain and TLS port; local hosts do without the power to bind below 1024."""
    return (FIRST_PLAIN_LOCAL, FIRST_TLS_LOCAL) if is_local else (FIRST_PLAIN, FIRST_TLS)


def base_port(service: Service) -> int:
    """Return the port that slot a's ports are counted from: the program's, or the one a static service declares."""
    if service.run is not None:
        return service.run.port
    if service.port is None:
        raise ValueError("a service has a run.port or a port; load_estate sees to it")
    return service.port


def slot_ports(service: Service) -> tuple[int, int]:
    """Return the ports of the program in slots a and b."""
    return base_port(service), base_port(service) + 1


def listener_ports(service: Service) -> tuple[int, int]:
    """Return the ports that the web tier listens on for slots a and b."""
    return base_port(service) + WEB_OFFSET, base_port(service) + WEB_OFFSET + 1


def front_ports(number: int) -> tuple[int, int]:
    """Return the plain and TLS port on 127.0.0.1 of the n-th environment of this machine."""
    return FIRST_PLAIN_LOCAL + 100 * number, FIRST_TLS_LOCAL + 100 * number
