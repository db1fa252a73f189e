"""What a host remembers of tokens, and refuses.

Invariant: an act under a token is refused once a newer one was seen for the same lease or one that excludes it.
Leases of two services of one environment don't exclude each other, so tokens are remembered by lease's name.
"""

from __future__ import annotations

from collections.abc import Mapping

from manor.errors import FencedOff
from manor.state.leases import exclude


def admit(seen: Mapping[str, int], lease: str, token: int) -> dict[str, int]:
    """Return what a host remembers after an act under the lease and token. Raises FencedOff if it knows a newer one that excludes it."""
    for name, newest in sorted(seen.items()):
        if exclude(name, lease) and newest > token:
            raise FencedOff(f"token {token} for {lease} is older than {newest} for {name}, which this host has seen; refused")
    return {**seen, lease: token}
