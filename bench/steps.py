"""What a pipeline step costs beside what it does: runs of no-op steps, one after another."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from bench.results import Result
from bench.stage import Stage
from manor.execution.base import Runner
from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.execution.values import Detached, DetachedState
from manor.state.store import Store
from manor.state.words import RunState
from tests.pipeline.bench import Bench

P = ParamSpec("P")
T = TypeVar("T")

GOAL_SECONDS = 0.010
REASON = (
    "Five programs are started one after the other (the wrapper, `setsid`, `env`, the step's shell, its commands'), 0.6 ms each at best; a commit "
    "before and one after are on the disk before anything goes on; what blocks is done in threads, and each change of threads waits for a core."
)
MANY = 41


def measure(stage: Stage) -> list[Result]:
    """Compare runs of 41 steps with runs of one; the difference is what 40 steps cost."""
    pairs = stage.choose(5, 2)
    seconds = asyncio.run(run_steps(stage, "plain", pairs))
    value = statistics.median(seconds)
    each = ", ".join(f"{one * 1000:.1f}" for one in seconds)
    note = (
        f"Median of {len(seconds)} runs of {MANY} different steps `true` against runs of one, {MANY - 1} steps' difference: {each} ms a step. "
        "Each is begun, detached in its wrapper, awaited, and durable in the store."
    )
    met = value < GOAL_SECONDS
    return [
        Result(
            "steps",
            "engine and wrapper of a no-op pipeline step",
            round(value * 1000, 1),
            "ms",
            goal=f"< {GOAL_SECONDS * 1000:g} ms",
            met=met,
            note=note if met else f"{note} {profile(stage)}",
            reason="" if met else REASON,
        )
    ]


async def run_steps(stage: Stage, name: str, pairs: int) -> list[float]:
    """Return seconds a step, by pairs of a short and a long run."""
    found = []
    with Store.open(stage.folder / f"state-{name}") as store:
        for number in range(pairs):
            short, long = await run_one(store, stage, f"{name}-{number}-short", 1), await run_one(store, stage, f"{name}-{number}-long", MANY)
            found.append((long - short) / (MANY - 1))
    return found


async def run_one(store: Store, stage: Stage, name: str, steps: int, runner: Runner | None = None) -> float:
    """Return how long a run of so many steps takes."""
    bench = Bench(store, stage.folder / f"repository-{name}", runner or LocalRunner("controller", Guard("controller")))
    bench.pipeline("steps:\n" + "".join(f"  step{number}: {{run: 'true {name} {number}'}}\n" for number in range(steps)))
    run = await bench.add(ref=f"refs/heads/{name}")
    begin = time.perf_counter()
    ended = await bench.go(run)
    seconds = time.perf_counter() - begin
    assert ended.state is RunState.PASSED, ended
    return seconds


@dataclass
class Spent:
    """Where a step's time goes."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    times: Counter[str] = field(default_factory=Counter)

    @asynccontextmanager
    async def on(self, what: str) -> AsyncIterator[None]:
        """Count what happens inside."""
        begin = time.perf_counter()
        yield
        self.seconds[what] += time.perf_counter() - begin
        self.times[what] += 1

    def told(self, steps: int, whole: float) -> str:
        """Return it in words, a step."""
        parts = [
            f"{what} {seconds / steps * 1000:.1f} ms in {self.times[what] / steps:.1f}"
            for what, seconds in sorted(self.seconds.items(), key=lambda item: -item[1])
        ]
        rest = (whole - sum(self.seconds.values())) / steps * 1000
        return f"Profile of a step: {', '.join(parts)}, pauses between looks and the engine itself {rest:.1f} ms."


class TimedStore(Store):
    """A store whose writes are counted."""

    spent = Spent()

    async def write(self, do: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Write, counting."""
        async with self.spent.on("durable writes to the store"):
            return await super().write(do, *args, **kwargs)

    async def read(self, do: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Read, counting."""
        async with self.spent.on("reads"):
            return await super().read(do, *args, **kwargs)


class TimedRunner(LocalRunner):
    """A runner whose starts and looks are counted."""

    spent = TimedStore.spent

    async def start(self, step: Detached) -> DetachedState:
        """Start, counting."""
        async with self.spent.on("starts of the detached wrapper, until it has claimed its folder"):
            return await super().start(step)

    async def attach(self, step: Detached) -> DetachedState:
        """Look, counting."""
        async with self.spent.on("looks at it"):
            return await super().attach(step)


def profile(stage: Stage) -> str:
    """Return where the time goes in a run of many steps."""

    async def run() -> float:
        with TimedStore.open(stage.folder / "state-profiled") as store:
            return await run_one(store, stage, "profiled", MANY, TimedRunner("controller", Guard("controller")))

    whole = asyncio.run(run())
    return TimedStore.spent.told(MANY, whole)
