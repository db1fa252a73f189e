"""Questions to the switching tiers about one slot, asked of every one of them.

Invariant: reads only; a server counts as serving where the balancer gives it traffic *and* its own checks of it pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from manor.errors import ManorError
from manor.estate.topology import TrafficState
from manor.integrations.proxies.base import ServerView
from manor.integrations.supervisors.base import ProgramStatus, ProgramView
from manor.rollout.fleet import Balancer, Fleet, SlotRef

ENDED = frozenset({ProgramStatus.STOPPED, ProgramStatus.FAILED})


def is_serving(view: ServerView) -> bool:
    """Tell whether a balancer gives a server traffic."""
    return view.traffic is TrafficState.READY and view.is_healthy is True


def has_process(view: ProgramView | None) -> bool:
    """Tell whether a program has a process that could answer or must still end."""
    return view is not None and view.status not in ENDED


def find(views: tuple[ServerView, ...], name: str) -> ServerView:
    """Return a server's view. Raises ManorError if the balancer does not know it."""
    for view in views:
        if view.name == name:
            return view
    raise ManorError(f"{name} is not among the balancer's servers ({', '.join(view.name for view in views)}); run `manor apply`")


async def all_views(ports: Fleet, ref: SlotRef) -> Mapping[Balancer, ServerView]:
    """Return how each balancer sees a slot. Raises ManorError if there is none: then nobody could say that it serves."""
    if not ports.balancers:
        raise ManorError(f"no switching tier before {ref.service} is Manor's to work; nothing can be rolled out safely")
    return {balancer: find(await ports.traffic(balancer, ref.service), ref.server) for balancer in ports.balancers}


async def holds_everywhere(ports: Fleet, ref: SlotRef, condition: Callable[[ServerView], bool]) -> bool:
    """Tell whether a condition holds for the slot on every balancer."""
    return all(condition(view) for view in (await all_views(ports, ref)).values())


async def serves_everywhere(ports: Fleet, ref: SlotRef) -> bool:
    """Tell whether every balancer gives the slot traffic."""
    return await holds_everywhere(ports, ref, is_serving)


async def serves_anywhere(ports: Fleet, ref: SlotRef) -> bool:
    """Tell whether some balancer gives the slot traffic."""
    return any(is_serving(view) for view in (await all_views(ports, ref)).values())


async def healthy_everywhere(ports: Fleet, ref: SlotRef) -> bool:
    """Tell whether every balancer's own checks of the slot pass."""
    return await holds_everywhere(ports, ref, lambda view: view.is_healthy is True)


async def is_in_traffic(ports: Fleet, ref: SlotRef) -> bool:
    """Tell whether any balancer may send the slot new requests."""
    return any(view.traffic is TrafficState.READY for view in (await all_views(ports, ref)).values())


async def is_ready_everywhere(ports: Fleet, ref: SlotRef) -> bool:
    """Tell whether every balancer would send the slot requests, if its checks pass."""
    return await holds_everywhere(ports, ref, lambda view: view.traffic is TrafficState.READY)


async def is_out(ports: Fleet, ref: SlotRef) -> bool:
    """Tell whether the slot is in maintenance on every balancer."""
    return await holds_everywhere(ports, ref, lambda view: view.traffic is TrafficState.MAINT)


async def in_flight(ports: Fleet, ref: SlotRef) -> int | None:
    """Return how many requests all balancers have in flight to a slot; None where one of them does not count."""
    if not all(balancer.is_counted for balancer in ports.balancers):
        return None
    counts = [view.in_flight for view in (await all_views(ports, ref)).values()]
    return None if None in counts else sum(count for count in counts if count is not None)


async def websockets(ports: Fleet, ref: SlotRef) -> int:
    """Return how many open WebSockets the balancers that tell them apart have to a slot."""
    return sum(view.websockets for view in (await all_views(ports, ref)).values())


async def unfinished(ports: Fleet, ref: SlotRef) -> int | None:
    """Return how many requests are in flight to a slot, without WebSockets; None where a balancer does not count."""
    requests = await in_flight(ports, ref)
    return None if requests is None else max(0, requests - await websockets(ports, ref))


async def serving_everywhere(ports: Fleet, service: str) -> frozenset[str]:
    """Return the servers that every balancer gives traffic."""
    found = [{view.name for view in await ports.traffic(balancer, service) if is_serving(view)} for balancer in ports.balancers]
    return frozenset(set.intersection(*found)) if found else frozenset()


async def fewest_serving(ports: Fleet, service: str, but: frozenset[str]) -> tuple[int, str]:
    """Return how many servers other than `but` serve on the balancer that has the fewest, and that balancer's host."""
    counts = []
    for balancer in ports.balancers:
        views = await ports.traffic(balancer, service)
        counts.append((sum(1 for view in views if view.name not in but and is_serving(view)), balancer.host))
    return min(counts, default=(0, ""))
