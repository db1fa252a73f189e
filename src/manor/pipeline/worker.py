"""Takes waiting runs from the store and carries them out, and goes on with those whose executor died.

Invariant: of a repository's ref one run is carried out at a time, under a lease; whose holder is gone is succeeded, and what it began is gone on with.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from manor.errors import Busy, ManorError
from manor.operations.leasing import hold
from manor.pipeline.engine import run_pipeline
from manor.pipeline.ports import Deliver, PipelinePorts
from manor.state import runs
from manor.state.executing import lease_name
from manor.state.runs import Run
from manor.state.words import RunState

LOOK_SECONDS = 0.5
LOOK_AGAIN_SECONDS = 0.05
MOST_RUNS = 4
REST_SECONDS = 30.0

log = logging.getLogger(__name__)


def ignore_trouble(_run: Run, _error: ManorError) -> None:
    """Say nothing."""


class Worker:
    """Carries out runs until its task is cancelled; programs of steps then go on, and are found again by the next worker."""

    def __init__(
        self,
        ports: PipelinePorts,
        deliver: Deliver,
        *,
        most_runs: int = MOST_RUNS,
        on_trouble: Callable[[Run, ManorError], None] = ignore_trouble,
    ) -> None:
        """Carry out through `ports`; hand what passed to `deliver`. `on_trouble` is told of what kept a run from going on; it is tried again."""
        self._ports = ports
        self._deliver = deliver
        self._most_runs = most_runs
        self._on_trouble = on_trouble
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._resting: dict[str, float] = {}
        """Until when, by ref, nothing is begun: the last run broke off in a way that nobody foresaw."""

    async def work(self) -> None:
        """Look for runs for ever."""
        try:
            while True:
                await self.look()
                await self._ports.store.clock.sleep(LOOK_SECONDS)
        finally:
            await self._stop()

    async def look(self) -> None:
        """Begin what can be begun now."""
        self._tasks = {ref: task for ref, task in self._tasks.items() if not self._is_over(ref, task)}
        now = self._ports.store.clock.now()
        taken = {*self._tasks, *(ref for ref, until in self._resting.items() if until > now)}
        for run in next_runs(await self._ports.store.read(runs.open_runs), taken, self._most_runs - len(self._tasks)):
            ref = lease_name(run.repository, run.ref)
            self._tasks[ref] = asyncio.create_task(self._carry_out(run, ref), name=f"run {run.id}")

    async def finish(self) -> None:
        """Carry out all that is there, and return when nothing is left that can go on."""
        await self.look()
        while self._tasks:
            await asyncio.wait(self._tasks.values())
            await self._ports.store.clock.sleep(LOOK_AGAIN_SECONDS)
            await self.look()

    async def _carry_out(self, run: Run, ref: str) -> None:
        try:
            async with hold(self._ports.store, ref, run.id) as lease:
                now = await self._ports.store.read(runs.get, run.id)
                await run_pipeline(now, lease, self._ports, self._deliver)
        except Busy:
            return  # somebody else's: it is looked at again while it is open
        except ManorError as error:
            self._on_trouble(run, error)

    def _is_over(self, ref: str, task: asyncio.Task[None]) -> bool:
        """Tell whether a run's task has ended; what nobody foresaw is told, and keeps its own ref waiting, no other."""
        if not task.done():
            return False
        if (error := task.exception()) is not None:
            self._resting[ref] = self._ports.store.clock.now() + REST_SECONDS
            log.error("a run of %s broke off and is gone on with in %g s", ref, REST_SECONDS, exc_info=error)
        return True

    async def _stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


def next_runs(waiting: Sequence[Run], taken: Iterable[str], free: int) -> list[Run]:
    """Return the runs to begin: of each ref that is not taken the one that was begun already, else the oldest; at most `free`."""
    refs = set(taken)
    chosen: list[Run] = []
    for run in sorted(waiting, key=lambda one: (one.state is RunState.WAITING, one.created_at, one.id)):
        ref = lease_name(run.repository, run.ref)
        if ref not in refs and len(chosen) < free:
            refs.add(ref)
            chosen.append(run)
    return chosen
