"""What a pipeline step costs beside what it does: runs of no-op steps, one after another."""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import statistics
import time

from bench.results import Result
from bench.stage import Stage
from manor.state.store import Store
from manor.state.words import RunState
from tests.pipeline.bench import Bench

GOAL_SECONDS = 0.010
MANY = 41


def measure(stage: Stage) -> list[Result]:
    """Compare runs of 41 steps with runs of one; the difference is what 40 steps cost."""
    pairs = stage.choose(5, 2)
    seconds = asyncio.run(run_steps(stage, "plain", pairs))
    value = statistics.median(seconds)
    note = f"Median of {len(seconds)} runs of {MANY} different steps `true` against runs of one, {MANY - 1} steps' difference: {', '.join(f'{one * 1000:.1f}' for one in seconds)} ms a step. Each is begun, detached in its wrapper, awaited, and durable in the store."
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


async def run_one(store: Store, stage: Stage, name: str, steps: int) -> float:
    """Return how long a run of so many steps takes."""
    bench = Bench(store, stage.folder / f"repository-{name}")
    bench.pipeline("steps:\n" + "".join(f"  step{number}: {{run: 'true {name} {number}'}}\n" for number in range(steps)))
    run = await bench.add(ref=f"refs/heads/{name}")
    begin = time.perf_counter()
    ended = await bench.go(run)
    seconds = time.perf_counter() - begin
    assert ended.state is RunState.PASSED, ended
    return seconds


def profile(stage: Stage) -> str:
    """Return where the engine's time goes in a run of many steps."""
    profiler = cProfile.Profile()
    profiler.enable()
    asyncio.run(run_steps(stage, "profiled", 1))
    profiler.disable()
    stats = pstats.Stats(profiler)
    rows = sorted(stats.stats.items(), key=lambda item: -item[1][2])[:8]  # type: ignore[attr-defined]
    total = stats.total_tt  # type: ignore[attr-defined]
    return "Profile, own time: " + ", ".join(f"{function} {own / total:.0%}" for (_, _, function), (_, _, own, _, _) in rows) + "."
