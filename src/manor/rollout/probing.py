"""The outside probe of a rollout, as the rollout needs it.

Invariant: whatever becomes of the controller, what was sent is on disk and is counted.
"""

from __future__ import annotations

from typing import Protocol

from manor.rollout.fleet import ProbeSummary
from manor.rollout.losses import SoFar


class Prober(Protocol):
    """Begins and ends the probe of one operation."""

    async def start(self, operation: str) -> None:
        """Have the probe run; one that runs already goes on, one that has ended is followed by another."""
        ...

    async def so_far(self, operation: str) -> SoFar:
        """Return what it has seen until now; nothing where nothing is asked."""
        ...

    async def stop(self, operation: str) -> ProbeSummary:
        """End it and return what it saw; asking again gives the same."""
        ...
