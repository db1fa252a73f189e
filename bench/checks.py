"""`manor check` without the vendors' checkers, in process, for estates of 5 to 5,000 hosts with 4 services each and four environments."""

from __future__ import annotations

import statistics
import subprocess

from bench.estates import SERVICES_A_HOST, estate_text
from bench.results import Result
from bench.stage import Stage, environ, python

SIZES = {5: 9, 50: 9, 500: 3, 5000: 1}
"""Hosts → times it is measured."""
GOAL_SECONDS = 0.3
GOAL_GROWTH = 1.5
"""A host of 5,000 may cost this much of a host of 50, and it is still called linear."""

PROGRAM = """
import sys, time
from pathlib import Path
from manor.estate.load import load_estate
small, large, times = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
load_estate(small)
for _ in range(times):
    begin = time.perf_counter()
    load_estate(large)
    print(time.perf_counter() - begin, flush=True)
"""


def measure(stage: Stage) -> list[Result]:
    """Load each size in a process of its own, warmed up by the smallest."""
    small = stage.folder / "small.yaml"
    small.write_text(estate_text(5))
    seconds = {hosts: statistics.median(load(stage, hosts, 1 if stage.quick else times)) for hosts, times in SIZES.items() if hosts <= stage.choose(5000, 500)}
    rows = [row(hosts, value) for hosts, value in seconds.items()]
    largest = max(seconds)
    growth = (seconds[largest] / largest) / (seconds[50] / 50)
    return [
        *rows,
        Result(
            "checks",
            f"`check` in process: cost of a host of {largest:,} beside a host of 50",
            round(growth, 2),
            "×",
            goal=f"≤ {GOAL_GROWTH}: linear",
            met=growth <= GOAL_GROWTH,
            note="The same generator of estates for all sizes (`bench/estates.py`).",
        ),
    ]


def load(stage: Stage, hosts: int, times: int) -> list[float]:
    """Return how long loading takes, again and again."""
    large = stage.folder / f"{hosts}.yaml"
    large.write_text(estate_text(hosts))
    words = python("-c", PROGRAM, str(stage.folder / "small.yaml"), str(large), str(times))
    out = subprocess.run(words, capture_output=True, text=True, check=True, timeout=300, env=environ()).stdout
    found = [float(line) for line in out.split()]
    stage.say(f"{hosts} hosts: {statistics.median(found):.3f} s")
    return found


def row(hosts: int, seconds: float) -> Result:
    """Return a size's time; the goal is for 50 hosts."""
    has_goal = hosts == 50
    return Result(
        "checks",
        f"`check` of {hosts:,} hosts, {hosts * SERVICES_A_HOST:,} services, in process",
        round(seconds * 1000),
        "ms",
        goal=f"< {GOAL_SECONDS * 1000:g} ms" if has_goal else "",
        met=seconds < GOAL_SECONDS if has_goal else None,
        note="As `manor check --offline`: reading, merging and every rule of our own, for four environments; without the start of Python and imports."
        if has_goal
        else "",
    )
