"""A controller that ends itself by SIGKILL at the n-th boundary: before or after a write to the store or the start of a program.

Usage: python -m tests.pipeline.killed_controller STATE REPOSITORY N        (N = 0: at none; prints how many there were)
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.execution.values import Detached, DetachedState
from manor.pipeline.worker import Worker
from manor.state.releases import Artifact
from manor.state.runs import Run
from manor.state.store import Store
from tests.pipeline.bench import Bench

P = ParamSpec("P")
T = TypeVar("T")


class Boundaries:
    """Counts, and kills."""

    passed = 0
    fatal = 0

    @classmethod
    def cross(cls) -> None:
        cls.passed += 1
        if cls.passed == cls.fatal:
            os.kill(os.getpid(), signal.SIGKILL)


class CountingStore(Store):
    """A store whose writes are boundaries."""

    async def write(self, do: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        Boundaries.cross()
        result = await super().write(do, *args, **kwargs)
        Boundaries.cross()
        return result


class CountingRunner(LocalRunner):
    """A runner whose starts are boundaries."""

    async def _start(self, step: Detached, begin: Callable[[], None]) -> DetachedState:
        Boundaries.cross()
        state = await super()._start(step, begin)
        Boundaries.cross()
        return state


async def main(state: Path, repository: Path, fatal: int) -> None:
    """Carry out all that waits, and note each delivery."""
    Boundaries.fatal = fatal

    async def deliver(run: Run, artifact: Artifact) -> None:
        (state / "delivered").open("a").write(f"{artifact.digest}\n")

    with CountingStore.open(state) as store:
        bench = Bench(store, repository, CountingRunner("controller", Guard("controller")))
        await asyncio.wait_for(Worker(bench.ports, deliver).finish(), 60)
    print(Boundaries.passed)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
