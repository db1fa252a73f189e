"""Open connections to a program, as the kernel of its own host lists them: those that no balancer counts too.

Invariant: pure; only established connections count, not those that one side has closed already.
Source: proc(5), `/proc/net/tcp`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from ipaddress import IPv4Address

from manor.execution.values import HostPath

IPV4, IPV6 = HostPath("/proc/net/tcp"), HostPath("/proc/net/tcp6")
SOCKETS = (IPV4, IPV6)
ESTABLISHED = "01"
MAPPED = {"little": "0000000000000000FFFF0000", "big": "00000000000000000000FFFF"}[sys.byteorder]
"""How the kernel writes the beginning of an IPv4 address as an IPv6 one: words in the order of the machine."""


def open_connections(tables: Mapping[HostPath, bytes], address: str, port: int) -> int | None:
    """Return how many established connections have this local IPv4 address and port; None where the host has no such tables."""
    if IPV4 not in tables:
        return None
    place = f"{int.from_bytes(IPv4Address(address).packed, sys.byteorder):08X}:{port:04X}"
    return established(tables[IPV4], place) + established(tables.get(IPV6, b""), MAPPED + place)


def established(table: bytes, place: str) -> int:
    """Return how many rows of a table have this local place and are established."""
    rows = (line.split(maxsplit=4) for line in table.decode("ascii", "replace").splitlines()[1:])
    return sum(1 for row in rows if len(row) > 3 and row[1] == place and row[3] == ESTABLISHED)
