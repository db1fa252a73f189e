"""The balancers of the model fleet: what they were told, what they send where, what guards may return, and what was lost."""

from __future__ import annotations

from dataclasses import dataclass, field

from manor.estate.topology import TrafficState
from manor.rollout.fleet import Balancer


@dataclass(frozen=True)
class Loss:
    """A request that got no good answer."""

    at: float
    server: str
    why: str
    is_fault: bool = False
    """The program ended by itself: no order of acts could have saved it."""


@dataclass
class ModelMark:
    """A server that is out for the time being; a guard returns it when the mark is not renewed."""

    operation: str
    renewed: float
    instead: tuple[str, ...]
    is_returned: bool = False


@dataclass
class ModelBalancer:
    """A switching tier: what it was told, what its checks have seen, what it has in flight."""

    name: Balancer
    lag: float = 0.0
    """Seconds until it does what it was told."""
    checks: bool = True
    """False: it takes every server for healthy, and where both slots take traffic b answers, as nginx alone does."""
    traffic: dict[str, TrafficState] = field(default_factory=dict)
    told: list[tuple[float, str, TrafficState]] = field(default_factory=list)
    healthy: dict[str, bool] = field(default_factory=dict)
    in_flight: dict[str, list[float]] = field(default_factory=dict)
    turn: int = 0

    def choose(self) -> str | None:
        """Return the server that gets the next request."""
        ready = [name for name, state in self.traffic.items() if state is TrafficState.READY and (self.healthy.get(name) or not self.checks)]
        if not self.checks:
            return max(ready, default=None)
        self.turn += 1
        return ready[self.turn % len(ready)] if ready else None
