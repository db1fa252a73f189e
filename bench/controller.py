"""Memory of the controller at rest: `manor serve` on an estate of 50 hosts."""

from __future__ import annotations

import re
import time
from pathlib import Path

from bench.fifty import ESTATE, HOSTS
from bench.results import Result
from bench.stage import Stage, wait_for

GOAL_BYTES = 200 * 10**6
REST_SECONDS = 8


def measure(stage: Stage) -> list[Result]:
    """Start it, let it rest, look."""
    estate = stage.estate("controller", ESTATE.format(hosts=HOSTS))
    process = stage.program(estate.command("serve"), "serve", cwd=estate.folder)
    wait_for((estate.folder / ".manor" / "state" / "controller.json").exists, 30, "manor serve")
    seconds = stage.choose(REST_SECONDS, 4)
    time.sleep(seconds)
    before = cpu_seconds(process.pid)
    time.sleep(seconds)
    share = (cpu_seconds(process.pid) - before) / seconds
    size = resident_bytes(process.pid)
    return [
        Result(
            "controller",
            f"controller at rest, an estate of {HOSTS} hosts",
            round(size / 1e6),
            "MB",
            goal=f"< {GOAL_BYTES / 1e6:g} MB",
            met=size < GOAL_BYTES,
            note=f"Resident set of `manor serve`, {2 * seconds} s after its start; it then uses {share:.1%} of a core.",
        )
    ]


def resident_bytes(pid: int) -> int:
    """Return a process's resident set."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found.group(1)) * 1024


def cpu_seconds(pid: int) -> float:
    """Return what a process has computed so far: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(words[11]) + int(words[12])) / 100
