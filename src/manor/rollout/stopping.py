"""The step that ends a slot's program (docs/rollout.md).

Invariant: nothing is stopped that a balancer may still send requests to, and no guard can return it any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from manor.errors import ApplyFailed, ManorError
from manor.estate.topology import TrafficState
from manor.integrations.supervisors.base import ProgramStatus
from manor.operations.step import Evidence, Here, Holds
from manor.rollout.fleet import Fleet
from manor.rollout.moving import DrainSlot
from manor.rollout.shown import POLL_SECONDS, is_shown
from manor.rollout.slots import SlotStep
from manor.rollout.views import has_process, is_in_traffic, is_out, unfinished, websockets

STOP_SECONDS = 300.0


@dataclass(frozen=True)
class StopSlot(SlotStep):
    """Stop the slot's program; no balancer may use it any more."""

    drain: DrainSlot | None = None
    """What empties it once more if a guard returned it to traffic after it was drained."""
    idle_seconds: float = 0.0
    """So long it waits at the most for the last open connection to the program to close."""
    kind = "stop"
    phase = "stopping"
    precondition = "the slot is drained, and no balancer gives it traffic"
    postcondition = "its program is gone and stays so after a restart of the host, and every balancer has it in maintenance"
    compensation = "the way back: it is started, warmed and admitted again; its release stays on disk"

    @property
    def timeout_seconds(self) -> float:
        """Return how long it may take."""
        return STOP_SECONDS + self.idle_seconds + (self.drain.timeout_seconds if self.drain else 0.0)

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.name} stops"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Tell whether it is gone, also after a restart of its host, and so is every mark of it on the balancers."""
        view = await ports.program(self.ref)
        gone = view is not None and view.status is ProgramStatus.STOPPED and not await ports.is_wanted(self.ref)
        return Holds.post() if gone and await is_out(ports, self.ref) else Holds.pre()

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Stop it, and see that it is gone. Raises ManorError if a balancer still sends it traffic, or if it lives on."""
        await ports.set_phase(self.phase, here)
        if await ports.unguard(self.ref, here) and self.drain is not None:
            await self.drain.act(ports, here)
            await ports.unguard(self.ref, here)
        if await is_in_traffic(ports, self.ref):
            raise ManorError(f"{self.host}: {self.name} still takes traffic; it is not stopped")
        await ports.set_traffic(self.service, {self.ref.server: TrafficState.MAINT}, here)
        if not await is_shown(ports, here, partial(is_out, ports, self.ref)):
            raise ApplyFailed(f"{self.host}: {self.name} was to be out of every balancer, and one still has it; it is not stopped")
        left = await self._wait_until_idle(ports)
        await ports.stop(self.ref, here)
        view = await ports.program(self.ref)
        if view is not None and has_process(view):
            raise ApplyFailed(f"{self.host}: {self.name} was told to end and is still {view.status}")
        return f"gone; connections to it that were still open: {left}" if left else "gone"

    async def _wait_until_idle(self, ports: Fleet) -> int:
        """Wait until nobody has a connection open, neither a tier that keeps idle ones nor anybody whom no balancer counts; return how many were left.

        WebSockets are not waited for: the program closes them itself. Nor is what the drain has cut.
        """
        limit = ports.now() + self.idle_seconds
        while True:
            opened = await ports.connections(self.ref) or 0
            left = max(0, opened - await websockets(ports, self.ref)) if opened else 0
            if not left or ports.now() >= limit or await unfinished(ports, self.ref):
                return left
            await ports.sleep(POLL_SECONDS)
