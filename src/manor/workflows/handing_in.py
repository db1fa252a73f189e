"""Deliveries that the controller carries out in the background: what was handed in through the API, and what others left (docs/controller.md).

Invariant: what was acknowledged is open in the store until it is delivered or a person has to decide.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from manor.errors import ManorError, UsageError
from manor.operations.events import Event
from manor.state import deliveries, operations, releases, runs
from manor.state.deliveries import Delivery
from manor.state.operations import Operation
from manor.workflows.context import Context
from manor.workflows.deliveries import WAITS, find_orphans, go_on
from manor.workflows.delivery import Delivered
from manor.workflows.rolling import Carrying

log = logging.getLogger(__name__)
REST_SECONDS = 30.0


@dataclass(frozen=True)
class UnderWay:
    """A delivery that is being carried out here."""

    task: asyncio.Task[list[Delivered]]
    begun: asyncio.Future[str]
    """The first operation that was heard of."""


class Deliveries:
    """Carries out open deliveries that nobody else does, several side by side."""

    def __init__(self, context_of: Callable[[], Context], settle: Callable[[str, Carrying], Awaitable[None]], carrying: Carrying) -> None:
        """Deliver under the estate that `context_of` gives at the time, after `settle` has brought what died of a service to its end."""
        self._context_of = context_of
        self._settle = settle
        self._carrying = carrying
        self._under_way: dict[str, UnderWay] = {}
        self._resting: dict[str, float] = {}
        """Until when, by its id, one is not tried again."""

    async def accept(self, delivery: Delivery) -> Operation | Delivery:
        """Begin a delivery that was written down; return the operation of its first rollout as soon as there is one.

        One that has to wait is returned as it stands, with why. Raises what ended it before it began.
        """
        now = self._under_way.get(delivery.id) or self._begin(delivery)
        waiting: list[asyncio.Future[Any]] = [now.task, now.begun]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        store = self._context_of().store
        if not now.begun.done() and isinstance(error := now.task.exception(), WAITS):
            return replace(await store.read(deliveries.get, delivery.id), summary=str(error))
        return await store.read(operations.get, now.begun.result() if now.begun.done() else await self._there_already(delivery, await now.task))

    async def _there_already(self, delivery: Delivery, delivered: list[Delivered]) -> str:
        """Return the operation that had brought a release before. Raises UsageError if none is known."""
        rows = await self._context_of().store.read(releases.certifications, delivery.start, delivery.service)
        found = [row.operation for row in rows if delivered and row.release.startswith(delivered[0].release)]
        if not found:
            raise UsageError(f"{delivery.service}: nothing was begun: {'; '.join(one.note for one in delivered)}")
        return found[-1]

    async def catch_up(self) -> None:
        """Begin what is open and carried out by nobody; what a run delivers is its own while it is open."""
        store = self._context_of().store
        now, seen_to = store.clock.now(), {run.id for run in await store.read(runs.open_runs)}
        for delivery in await find_orphans(self._context_of()):
            if delivery.run not in seen_to and delivery.id not in self._under_way and self._resting.get(delivery.id, now) <= now:
                self._begin(delivery)

    def _begin(self, delivery: Delivery) -> UnderWay:
        begun: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._deliver(delivery, begun), name=f"deliver {delivery.service}")
        self._under_way[delivery.id] = UnderWay(task, begun)
        task.add_done_callback(lambda ended: self._ended(delivery, ended))
        return self._under_way[delivery.id]

    async def _deliver(self, delivery: Delivery, begun: asyncio.Future[str]) -> list[Delivered]:
        await self._settle(delivery.service, self._carrying)

        def tell(event: Event) -> None:
            if not begun.done():
                begun.set_result(event.operation)
            self._carrying.tell(event)

        return await go_on(self._context_of(), delivery.id, replace(self._carrying, actor=delivery.actor, tell=tell), is_patient=True)

    def _ended(self, delivery: Delivery, task: asyncio.Task[list[Delivered]]) -> None:
        self._under_way.pop(delivery.id, None)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, WAITS) or (error is not None and not isinstance(error, ManorError)):
            self._resting[delivery.id] = self._context_of().store.clock.now() + REST_SECONDS
            log.warning("%s %s is tried again in %g s: %s", delivery.service, delivery.artifact[:12], REST_SECONDS, error)
            return
        self._resting.pop(delivery.id, None)
        if error is not None:
            log.warning("%s %s was not delivered: %s", delivery.service, delivery.artifact[:12], error)
