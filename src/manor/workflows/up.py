"""Bring environments up: every host as declared, every tier answering."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from manor.operations.events import Event, Listener, silent
from manor.operations.planning import Result
from manor.operations.stop import Stop
from manor.workflows.context import Context
from manor.workflows.left import apply_environment
from manor.workflows.rolling import Carrying
from manor.workflows.snapshots import keep_estate


@dataclass(frozen=True)
class Way:
    """How to reach a service from this machine."""

    environment: str
    service: str
    url: str
    curl: str


async def bring_up(
    context: Context, environments: tuple[str, ...], tell: Listener = silent, stop: Stop | None = None, *, actor: str, allow_destroy: bool = False
) -> dict[str, Result | None]:
    """Plan and apply each environment, side by side; None: nothing to do there. Raises what the first failure raises."""
    keep_estate(context)
    for name in environments:
        context.wiring(name)

    async def one(name: str) -> Result | None:
        carrying = Carrying(actor, prefixed(tell, name), stop)
        return (await apply_environment(context, name, carrying, allow_destroy=allow_destroy))[1]

    results = await asyncio.gather(*(one(name) for name in environments), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return {name: result for name, result in zip(environments, results, strict=True) if not isinstance(result, BaseException)}


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
