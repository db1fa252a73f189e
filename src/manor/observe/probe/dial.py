"""Opens a connection by address, with the server's name in TLS and in Host only.

Invariant: nothing is resolved; the model takes IP addresses only.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Callable
from functools import cache

from manor.observe.probe.connection import Connection
from manor.observe.probe.model import LossKind, Target

OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM})
"""Errors of this machine: the request never left, so it is neither sent nor lost."""
ENDED = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)


@cache
def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return how to verify the front door: by this authority, HTTP/1.1 only."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def dial(target: Target, make: Callable[[], Connection]) -> Connection:
    """Open a connection. Raises OSError, ssl.SSLError among them."""
    context = tls_context(target.ca_file) if target.tls else None
    name = target.host.partition(":")[0] if target.tls else None
    _, connection = await asyncio.get_running_loop().create_connection(make, target.address, target.port, ssl=context, server_hostname=name)
    return connection


def loss_of(error: OSError) -> LossKind | None:
    """Return why a connection that did not come about is a loss; None: the reason lies with this machine."""
    if isinstance(error, TimeoutError):
        return LossKind.TIMED_OUT
    if isinstance(error, ssl.SSLError):
        return LossKind.TLS
    if isinstance(error, ENDED):
        return LossKind.RESET
    return None if error.errno in OURS else LossKind.REFUSED
