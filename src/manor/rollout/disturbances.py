"""Which tiers were started again, or do not run, since a moment: evidence that a failure was not the release's (docs/rollout.md, the way back).

Invariant: reads only. Ages are counted by the host's own clock, so that clocks that differ change nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

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


def look_for_ages() -> Command:
    """Return the command that reads how old every process is."""
    return Command(("sh", "-c", LOOK), Touch())


def parse_ages(completed: Completed) -> Mapping[int, float]:
    """Return for each process group the seconds since its youngest process was started; none of a wrapper that waits, whose pauses are always young.

    Raises ManorError.
    """
    lines = completed.text.splitlines()
    try:
        uptime, ticks = float(lines[0].split()[0]), int(lines[1])
    except (IndexError, ValueError) as error:
        raise ManorError(f"how old processes are could not be read: {completed.text[:80]!r}") from error
    waiting = {int(found[1]) for line in lines[2:] if (found := WAITING.fullmatch(line))}
    ages: dict[int, float] = {}
    for line in lines[2:]:
        words = line.rpartition(") ")[2].split()
        if len(words) > 19 and int(words[2]) not in waiting:
            group, age = int(words[2]), uptime - int(words[19]) / ticks
            ages[group] = min(ages.get(group, age), age)
    return ages


async def disturbances(site: Site, seconds: float) -> tuple[str, ...]:
    """Return which tiers of the environment do not run, or were started within the last seconds."""
    found = await asyncio.gather(*(disturbed_host(host, site.runners[name], seconds) for name, host in sorted(site.hosts.items()) if host.tiers))
    return tuple(told for host in found for told in host)


async def disturbed_host(host: DesiredHost, runner: Runner, seconds: float) -> list[str]:
    """Return what was disturbed on one host; that it can't be asked is a disturbance too."""
    try:
        question = HostQuestion((), (), (), host.supervised, host.supervisor if host.is_supervised else None)
        views = await observe_programs(question, runner)
        ages = parse_ages(await runner.run(look_for_ages()))
        parts = [word for tier in host.tiers if tier.node.theirs is not None for word in await words_of_part(tier, runner, ages, seconds)]
    except (Unreachable, CommandFailed) as error:
        return [f"{host.name}: {error}"]
    if views is None:
        return [f"{host.name}: {host.supervisor.name} does not answer"]
    names = {program.name for tier in host.tiers for program in tier.programs}
    told = (word_of(view, ages, seconds) for view in views if view.name in names)
    return [f"{host.name}: {word}" for word in (*told, *parts) if word]


async def words_of_part(tier: DesiredTier, runner: Runner, ages: Mapping[int, float], seconds: float) -> list[str]:
    """Return what happened to a program of somebody else that a tier is a part of: it does not work as declared, or was started or reloaded."""
    problem = await part_problem(tier, runner)
    if problem:
        return [f"{tier.node.key}: {problem}"]
    if not tier.node.has_files:
        return []
    age = ages.get((await find_master(tier, runner)).pid, seconds)
    return [f"{tier.node.key}: your {tier.proxy.name} was started again, or reloaded, {age:.0f} s ago"] if age < seconds else []


def word_of(view: ProgramView, ages: Mapping[int, float], seconds: float) -> str:
    """Return what happened to a tier's program; empty: nothing. A worker that was started anew is younger than its master."""
    if view.status is not ProgramStatus.RUNNING:
        return f"{view.name} is {view.status}"
    age = ages.get(view.pid or 0, seconds)
    return f"{view.name} was started again {age:.0f} s ago" if age < seconds else ""
