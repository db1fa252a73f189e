"""What a run's executor writes down, as long as it is the executor.

Invariant: each write checks, in its own transaction, that the executor still holds the lease of the run's ref.
"""

from __future__ import annotations

from collections.abc import Callable

from manor.state import executing, runs
from manor.state.leases import Lease
from manor.state.runs import Run, RunStep
from manor.state.store import Store
from manor.state.words import RunState


class Book:
    """The rows of one run, for its executor."""

    def __init__(self, store: Store, run: str, lease: Lease) -> None:
        """Write about `run` while `lease` is held."""
        self.store = store
        self.run = run
        self.lease = lease

    async def read(self) -> Run:
        """Return the run as it stands."""
        return await self.store.read(runs.get, self.run)

    async def steps(self) -> tuple[RunStep, ...]:
        """Return all attempts at its steps."""
        return await self.store.read(runs.steps, self.run)

    async def put(self, step: RunStep) -> None:
        """Write how an attempt stands. Raises FencedOff."""
        await self.store.write(executing.put_step, self.lease, step)

    async def put_if(self, step: RunStep, holds: Callable[[], bool]) -> bool:
        """Write how an attempt stands if something holds at that moment, and tell whether. Raises FencedOff."""
        return await self.store.write(executing.put_step_if, self.lease, step, holds)

    async def begin(self, step: RunStep) -> RunStep | None:
        """Write that an attempt begins, unless a step of its key passed before: then return that one and write nothing. Raises FencedOff."""
        return await self.store.write(executing.begin_step, self.lease, step)

    async def set(self, state: RunState, *, summary: str = "", artifact: str | None = None, deadline: float | None = None) -> Run:
        """Write how the run stands, unless it was cancelled; return how it does. Raises FencedOff."""
        now = self.store.clock.now()
        return await self.store.write(executing.set_run, self.lease, self.run, state, at=now, summary=summary, artifact=artifact, deadline=deadline)
