"""The fixed table of ports (docs/ports.md): each is a function of a tier's place or a service's port."""

from __future__ import annotations

import zlib

FIRST_PLAIN = 8080
FIRST_TLS = 8443
LISTENER_OFFSET = 10000


def tier_port(place: int) -> int:
    """Return the port of an inner tier's listener."""
    return 9000 + 10 * place


def admin_port(place: int) -> int:
    """Return the port of a tier's admin side."""
    return 9005 + 10 * place


def slot_port(port: int, slot: str) -> int:
    """Return the program's own port in a slot."""
    return port + (1 if slot == "b" else 0)


def slot_listener(port: int, slot: str) -> int:
    """Return the web tier's port for a slot."""
    return slot_port(port, slot) + LISTENER_OFFSET


def front_ports(number: int) -> tuple[int, int]:
    """Return the plain and TLS port on 127.0.0.1 of the n-th environment of this machine."""
    return FIRST_PLAIN + 100 * number, FIRST_TLS + 100 * number


def static_port(service: str) -> int:
    """Return the port that stands for a service without a program: stable, from its name; only its listeners are ever opened."""
    return 12000 + 2 * (zlib.crc32(service.encode()) % 4000)
