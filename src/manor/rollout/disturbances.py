"""Which tiers were started again, or do not run, since a moment: evidence that a failure was not the release's (docs/rollout.md, the way back).

Invariant: reads only. Ages are counted by the host's own clock, so that clocks that differ change nothing.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from manor.errors import CommandFailed, ManorError, Unreachable
from manor.execution.base import Runner
from manor.execution.values import Command, Completed, Touch
from manor.integrations.supervisors.base import ProgramStatus, ProgramView
from manor.observe.hosts import HostQuestion, observe_programs
from manor.reconcile.desired import DesiredHost, DesiredTier
from manor.reconcile.parts import find_master, part_problem
from manor.reconcile.site import Site

LOOK = """\
cat /proc/uptime || exit
getconf CLK_TCK || echo 100
grep -szlE '^MANOR_WAITING=' /proc/[0-9]*/environ || :
cat /proc/[0-9]*/stat 2> /dev/null || :
"""
"""Wrappers that wait for a program which outlived its supervisor, then all processes.

Field numbers are those of proc(5): after the name in brackets the third is the state; 5 the process group, 22 the start in ticks after boot.
"""
WAITING = re.compile("/proc/([0-9]+)/environ")
ENDED = ("Z", "X")


def look_for_processes() -> Command:
    """Return the command that lists every process, and which wrappers wait."""
    return Command(("sh", "-c", LOOK), Touch())


@dataclass(frozen=True)
class Processes:
    """All live processes of a host: when each was started, in ticks after boot, how old the youngest of each process group is, and which wrappers wait."""

    starts: Mapping[int, int]
    youngest: Mapping[int, float]
    waiting: frozenset[int]

    def age(self, pid: int, seconds: float) -> float:
        """Return how old the youngest of a process's own group is; of what has none, so many seconds."""
        return self.youngest.get(pid, seconds)

    def is_last_start(self, note: bytes) -> bool:
        """Tell whether what a wrapper wrote at a program's last start is about a process that lives."""
        words = note.decode(errors="replace").split()
        return len(words) > 1 and words[0].isdecimal() and str(self.starts.get(int(words[0]))) == words[1]


def parse_processes(completed: Completed) -> Processes:
    """Return the processes of a host. One that ended, and was not yet asked for, is not alive. Raises ManorError."""
    lines = completed.text.splitlines()
    try:
        uptime, ticks = float(lines[0].split()[0]), int(lines[1])
    except (IndexError, ValueError) as error:
        raise ManorError(f"how old processes are could not be read: {completed.text[:80]!r}") from error
    starts: dict[int, int] = {}
    youngest: dict[int, float] = {}
    for line in lines[2:]:
        number, _, rest = line.partition(" (")
        words = rest.rpartition(") ")[2].split()
        if len(words) > 19 and words[0] not in ENDED:
            group, start = int(words[2]), int(words[19])
            starts[int(number)] = start
            youngest[group] = min(youngest.get(group, math.inf), uptime - start / ticks)
    return Processes(starts, youngest, frozenset(int(found[1]) for line in lines[2:] if (found := WAITING.fullmatch(line))))


async def disturbances(site: Site, seconds: float) -> tuple[str, ...]:
    """Return which tiers of the environment do not run, or were started within the last seconds."""
    found = await asyncio.gather(*(disturbed_host(host, site.runners[name], seconds) for name, host in sorted(site.hosts.items()) if host.tiers))
    return tuple(told for host in found for told in host)


async def disturbed_host(host: DesiredHost, runner: Runner, seconds: float) -> list[str]:
    """Return what was disturbed on one host; that it can't be asked is a disturbance too."""
    try:
        question = HostQuestion((), (), (), host.supervised, host.supervisor if host.is_supervised else None)
        views = await observe_programs(question, runner)
        names = {program.name for tier in host.tiers for program in tier.programs}
        notes = await runner.read(host.layout.program_log_start(name) for name in names)
        processes = parse_processes(await runner.run(look_for_processes()))
        parts = [word for tier in host.tiers if tier.node.theirs is not None for word in await words_of_part(tier, runner, processes, seconds)]
    except (Unreachable, CommandFailed) as error:
        return [f"{host.name}: {error}"]
    if views is None:
        return [f"{host.name}: {host.supervisor.name} does not answer"]
    told = (word_of(view, processes, seconds, notes.get(host.layout.program_log_start(view.name), b"")) for view in views if view.name in names)
    return [f"{host.name}: {word}" for word in (*told, *parts) if word]


async def words_of_part(tier: DesiredTier, runner: Runner, processes: Processes, seconds: float) -> list[str]:
    """Return what happened to a program of somebody else that a tier is a part of: it does not work as declared, or was started or reloaded."""
    problem = await part_problem(tier, runner)
    if problem:
        return [f"{tier.node.key}: {problem}"]
    if not tier.node.has_files:
        return []
    age = processes.age((await find_master(tier, runner)).pid, seconds)
    return [f"{tier.node.key}: your {tier.proxy.name} was started again, or reloaded, {age:.0f} s ago"] if age < seconds else []


def word_of(view: ProgramView, processes: Processes, seconds: float, note: bytes) -> str:
    """Return what happened to a tier's program, with the note of its last start; empty: nothing.

    A worker that was started anew is younger than its master. A wrapper waits for what outlived its supervisor, which nothing happened to; or for the rest of
    one whose first process was killed.
    """
    if view.status is not ProgramStatus.RUNNING:
        return f"{view.name} is {view.status}"
    if view.pid is None:
        return ""
    is_waiting = view.pid in processes.waiting
    if view.pid not in processes.starts or (is_waiting and not processes.is_last_start(note)):
        return f"{view.name} has ended, and was not started again yet"
    age = processes.age(int(note.split()[0]) if is_waiting else view.pid, seconds)
    return f"{view.name} was started again {age:.0f} s ago" if age < seconds else ""
