"""Bring environments up: every host as declared, every tier answering."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from manor.errors import DifferencesFound
from manor.operations.events import Event, Listener
from manor.operations.planning import Result
from manor.state.clock import Clock
from manor.workflows.context import Context
from manor.workflows.left import apply_planned, plan_after_left
from manor.workflows.rolling import Carrying
from manor.workflows.snapshots import keep_estate


@dataclass(frozen=True)
class Way:
    """How to reach a service from this machine."""

    environment: str
    service: str
    url: str
    curl: str


async def bring_up(context: Context, environments: tuple[str, ...], carrying: Carrying, *, allow_destroy: bool = False) -> dict[str, Result | None]:
    """Plan and apply each environment, side by side; None: nothing to do there. Raises what the first failure raises."""
    keep_estate(context)
    for name in environments:
        context.wiring(name)

    async def one(name: str) -> Result | None:
        own = replace(carrying, tell=prefixed(carrying.tell, name))
        return await converge(context, name, own, allow_destroy=allow_destroy)

    results = await asyncio.gather(*(one(name) for name in environments), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return {name: result for name, result in zip(environments, results, strict=True) if not isinstance(result, BaseException)}


async def converge(context: Context, environment: str, carrying: Carrying, *, allow_destroy: bool = False) -> Result | None:
    """Plan and apply one environment, after what was left of an apply; None: nothing to do.

    What changed while the lease was waited for is planned anew. Raises what an apply raises.
    """
    clock, ended = context.store.clock, None
    limit = clock.now() + carrying.wait_seconds
    while True:
        planned, left = await plan_after_left(context, environment, until(limit, clock, carrying))
        ended = left or ended
        waiting = until(limit, clock, carrying)
        try:
            return await apply_planned(context, planned, waiting, allow_destroy=allow_destroy) or ended
        except DifferencesFound:
            if not waiting.wait_seconds:
                raise


def until(limit: float, clock: Clock, carrying: Carrying) -> Carrying:
    """Return how to carry something out that waits for a lease no longer than to a moment."""
    return replace(carrying, wait_seconds=max(limit - clock.now(), 0.0))


def prefixed(tell: Listener, environment: str) -> Listener:
    """Return a listener that hears every host with its environment before it."""

    def heard(event: Event) -> None:
        tell(replace(event, host=f"{environment}/{event.host}" if event.host else environment))

    return heard


def ways_in(context: Context, environment: str) -> tuple[Way, ...]:
    """Return the address of each service that has a route, for a browser and for curl."""
    wiring = context.wiring(environment)
    if wiring.addressing.front is None or not wiring.has_way_in:
        return ()
    port = wiring.addressing.front[1]
    authority = context.authority.certificate_file
    ways = []
    for view in wiring.services():
        name = f"{view.name}.{environment}.localhost"
        for route in view.routes[:1]:
            url = f"https://{name}:{port}{route.path}"
            ways.append(Way(environment, view.name, url, f"curl --cacert {authority} {url}"))
    return tuple(ways)
