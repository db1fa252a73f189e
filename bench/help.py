"""How long `manor --help` takes, with the start of Python."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections import defaultdict

from bench.results import Result
from bench.stage import Stage, environ, python

GOAL_SECONDS = 0.2


def measure(stage: Stage) -> list[Result]:
    """Ask for help again and again; beside it, a Python that does nothing."""
    times = stage.choose(15, 5)
    seconds = statistics.median(run("-m", "manor", "--help") for _ in range(times))
    bare = statistics.median(run("-c", "pass") for _ in range(times))
    return [
        Result(
            "help",
            "`manor --help`",
            round(seconds * 1000),
            "ms",
            peer="Python that does nothing",
            peer_value=round(bare * 1000),
            ratio=round(seconds / bare, 2),
            goal=f"< {GOAL_SECONDS * 1000:g} ms",
            met=seconds < GOAL_SECONDS,
            note=f"Median of {times}.{'' if seconds < GOAL_SECONDS else profile()}",
        )
    ]


def run(*words: str) -> float:
    """Return how long a Python program takes."""
    begin = time.perf_counter()
    subprocess.run(python(*words), check=True, stdout=subprocess.DEVNULL, timeout=30, env=environ())
    return time.perf_counter() - begin


def profile() -> str:
    """Return which packages' imports take the time: https://docs.python.org/3/using/cmdline.html#cmdoption-X."""
    done = subprocess.run(python("-X", "importtime", "-m", "manor", "--help"), capture_output=True, text=True, check=True, timeout=30, env=environ())
    rows = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines() if line.startswith("import time:") and "self" not in line]
    packages: defaultdict[str, float] = defaultdict(float)
    for own, _, name in rows:
        packages[name.strip().split(".")[0]] += int(own) / 1000
    largest = sorted(packages.items(), key=lambda item: -item[1])[:6]
    told = ", ".join(f"{name} {cost:.0f} ms" for name, cost in largest)
    return f" Profile: {len(rows)} imports, {sum(packages.values()):.0f} ms when measured one by one; {told}."
