"""How each balancer treats a service is asked of each: one that is silent hides nothing that the others say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from manor.errors import Unreachable
from manor.estate.topology import TrafficState
from manor.integrations.proxies.base import ServerView
from manor.rollout.fleet import Balancer
from manor.rollout.live import LiveFleet
from manor.workflows.health import SeenAt
from manor.workflows.status import seen_by_each

EDGES = tuple(Balancer(f"edge-{number}", "1-balancer-haproxy", is_counted=True) for number in (1, 2, 3))


@dataclass
class Fleet:
    """Three balancers, the second of which is silent."""

    service: str = "shop"
    balancers: tuple[Balancer, ...] = EDGES

    async def traffic(self, balancer: Balancer, _service: str) -> tuple[ServerView, ...]:
        if balancer.host == "edge-2":
            raise Unreachable("edge-2: refused")
        return (ServerView("web-1-a", TrafficState.READY, balancer.host == "edge-3", 2),)


async def test_a_silent_balancer_hides_nothing_that_others_say() -> None:
    seen, problems = await seen_by_each(cast("LiveFleet", Fleet()))
    assert seen == {"web-1-a": (SeenAt("edge-1", "ready", False, 2), SeenAt("edge-3", "ready", True, 2))}
    assert problems == {"edge-2": "edge-2: refused"}
