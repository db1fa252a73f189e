"""What is really on a host: digests of files, strays, programs, what each process has loaded.

Invariant: reads only; decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from manor.errors import CommandFailed, NotOurs, Unreachable
from manor.execution.base import Runner
from manor.execution.values import HostPath
from manor.integrations.supervisors.base import ProgramView, SupervisedHost, Supervisor


@dataclass(frozen=True)
class HostQuestion:
    """What to look at on a host."""

    paths: tuple[HostPath, ...]
    """Files whose digests matter."""
    folders: tuple[HostPath, ...]
    """Folders whose every file is ours."""
    texts: tuple[HostPath, ...]
    """Small files whose content matters."""
    supervised: SupervisedHost
    supervisor: Supervisor | None
    """None: nothing of ours runs there, and nothing is to."""


@dataclass(frozen=True)
class ObservedHost:
    """A host as it is."""

    name: str
    digests: Mapping[HostPath, str]
    strays: tuple[HostPath, ...] = ()
    texts: Mapping[HostPath, bytes] = field(default_factory=dict)
    programs: tuple[ProgramView, ...] | None = None
    """None: the supervisor does not answer."""
    unreachable: str = ""
    """Why nothing is known, if so."""

    def program(self, name: str) -> ProgramView | None:
        """Return how a program stands; None if the supervisor doesn't know it or doesn't answer."""
        return next((view for view in self.programs or () if view.name == name), None)


async def observe_host(question: HostQuestion, runner: Runner, name: str) -> ObservedHost:
    """Look at a host. An unreachable one is an answer, not an error. Raises NotOurs for what may not be looked at."""
    try:
        return await look(question, runner, name)
    except ExceptionGroup as group:
        if refused := [error for error in group.exceptions if isinstance(error, NotOurs)]:
            raise refused[0] from group
        if not all(isinstance(error, Unreachable) for error in group.exceptions):
            raise
        return ObservedHost(name, {}, unreachable=str(group.exceptions[0]))


async def look(question: HostQuestion, runner: Runner, name: str) -> ObservedHost:
    """Look at a host that answers: one call of each kind, all at once. Raises an ExceptionGroup of what the runner raises."""
    async with asyncio.TaskGroup() as group:
        digests = group.create_task(runner.digest(question.paths))
        texts = group.create_task(runner.read(question.texts))
        present = group.create_task(list_folders(question.folders, runner))
        programs = group.create_task(observe_programs(question, runner))
    known = set(question.paths)
    strays = tuple(sorted(path for path in present.result() if path not in known))
    return ObservedHost(name, digests.result(), strays, texts.result(), programs.result())


async def list_folders(folders: Iterable[HostPath], runner: Runner) -> tuple[HostPath, ...]:
    """Return every file directly in the folders."""
    every = await runner.listings(folders)
    return tuple(folder / name for folder, names in every.items() for name in names)


async def observe_programs(question: HostQuestion, runner: Runner) -> tuple[ProgramView, ...] | None:
    """Return how the programs stand; None while the supervisor does not answer."""
    if question.supervisor is None:
        return ()
    try:
        completed = await runner.carry_out(question.supervisor.status(question.supervised))
    except (Unreachable, CommandFailed):
        return None
    return question.supervisor.parse_status(completed)
