"""What balancers were told is read back from them before anything rests on it: traffic, and the maintenance page (docs/rollout.md).

Invariant: every wait has a limit, a little before the deadline of its step.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from manor.errors import ApplyFailed
from manor.operations.step import Here
from manor.rollout.fleet import Fleet

POLL_SECONDS = 0.2
SHOWN_SECONDS = 30.0
"""So long a balancer may take to show what it was told."""


async def is_shown(ports: Fleet, here: Here, holds: Callable[[], Awaitable[bool]]) -> bool:
    """Wait until something is shown; tell whether that came in time."""
    limit = min(here.deadline - 1.0, ports.now() + SHOWN_SECONDS)
    while not await holds():
        if ports.now() >= limit:
            return False
        await ports.sleep(POLL_SECONDS)
    return True


async def show_page(ports: Fleet, service: str, here: Here, *, on: bool) -> None:
    """Show the maintenance page, or end it, and see that it is so. Raises ApplyFailed if a balancer does not show it in time."""
    await ports.set_maintenance(service, here, on=on)

    async def is_as_told() -> bool:
        return not await ports.page_differs(service, on=on)

    if not await is_shown(ports, here, is_as_told):
        where, word = await ports.page_differs(service, on=on), "shown" if on else "taken away"
        raise ApplyFailed(f"{where}: the maintenance page of {service} was to be {word} and is not")
