"""The steps of an apply on a host's supervisor: checked, then made to run what is declared (docs/apply.md).

Invariant: a changed definition of a running slot waits for its next rollout.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import TypeAdapter

from manor.errors import ApplyFailed, Refused
from manor.execution.base import Runner
from manor.execution.values import Detached, HostPath, MakeFolder, PutFile, Remove
from manor.integrations.supervisors.base import Program, ProgramStatus, ended, program_of
from manor.observe.hosts import HostQuestion, observe_programs
from manor.operations.step import Evidence, Here, Holds
from manor.reconcile.desired import DesiredHost, definitions_of
from manor.reconcile.site import POLL_SECONDS, READY_SECONDS, SLACK_SECONDS, HostStep, Site, anyhow, remove_strays, tell_supervisor, write_changed
from manor.state.clock import Clock

TAKEN_OVER: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])
RESTART_SECONDS = 2.0
"""A supervisor starts a program that failed again within this; one that shows no process for longer has given it up."""


@dataclass(frozen=True)
class CheckSupervisor(HostStep):
    """Have the supervisor's own parser judge its rendered files, before anything is changed."""

    kind = "check-supervisor"
    precondition = "nothing of the supervisor was changed yet"
    postcondition = "its own parser accepts the rendered files"
    compensation = "none needed: it judged copies in a folder of their own, which is removed"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return "programs: checked by the supervisor's own parser"

    async def do(self, ports: Site, here: Here) -> Evidence:
        """Check. Raises Refused with its words."""
        host, runner = ports.hosts[self.host], ports.runners[self.host]
        folder = host.layout.operation(here.operation) / "check" / "supervisor"
        await runner.change([MakeFolder(folder), *(PutFile(folder / file.path.name, file.content, file.mode) for file in host.supervisor_files)])
        try:
            completed = await runner.run(anyhow(host.supervisor.check(host.supervised, folder), folder))
        finally:
            await runner.change([Remove(folder)])
        problems = host.supervisor.parse_check(completed)
        if problems:
            raise Refused(f"{self.host}: {host.supervisor.name} refused: {'; '.join(problems)}; no tier was changed")
        return f"{host.supervisor.name} accepts its files"


@dataclass(frozen=True)
class Supervise(HostStep):
    """Have the supervisor run what is declared: started if need be, told of what changed."""

    kind = "supervise"
    precondition = "every tier's files are written"
    postcondition = "the supervisor knows the declared definitions, and the tiers' programs run; a running slot's new definition waits for its rollout"
    compensation = "the way back: an apply of the estate before; each try brings it further to what is declared"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return "programs as declared"

    async def observe(self, ports: Site, here: Here) -> Holds:
        """Tell whether nothing differs: its files, the definitions that it took over, the tiers that run."""
        host, runner = ports.hosts[self.host], ports.runners[self.host]
        views = await observe_programs(question_of(host), runner)
        if views is None or await differing_files(host, runner):
            return Holds.pre()
        running = {view.name for view in views if view.status is ProgramStatus.RUNNING}
        changes = await changed_programs(host, runner, {view.name for view in views}, running)
        tiers = {program.name for program in host.supervised.programs if program.wanted is None}
        is_done = not (changes.added or changes.changed or changes.removed) and tiers <= running and await remembered_programs(host, runner) == changes.now
        return Holds.post(f"it knows {len(changes.now)} programs") if is_done else Holds.pre()

    async def do(self, ports: Site, here: Here) -> Evidence:
        """Do it. A changed definition of a running slot waits for its next rollout."""
        host, runner = ports.hosts[self.host], ports.runners[self.host]
        await write_changed(runner, host.supervisor_files)
        await remove_strays(host.layout.supervisor, (file.path for file in host.supervisor_files), runner)
        question = question_of(host)
        views = await observe_programs(question, runner)
        was_gone = views is None
        if views is None:
            await start_supervisor(host, runner)
            await wait_for_supervisor(question, runner, ports)
            views = await observe_programs(question, runner) or ()
            await remember_programs(host, runner, definitions_of(host))
        changes = await changed_programs(host, runner, {view.name for view in views}, {view.name for view in views if view.status is ProgramStatus.RUNNING})
        for act in host.supervisor.update(host.supervised, changes.added, changes.changed, changes.removed):
            await tell_supervisor(host, runner, act)
        await remember_programs(host, runner, changes.now)
        await self._start_tiers(host, runner)
        told = f"{len(changes.added)} programs added, {len(changes.changed)} changed, {len(changes.removed)} removed"
        return f"{host.supervisor.name} started; it knows {len(changes.now)} programs" if was_gone else told

    async def _start_tiers(self, host: DesiredHost, runner: Runner) -> None:
        question = question_of(host)
        running = {view.name for view in await observe_programs(question, runner) or () if view.status in {ProgramStatus.RUNNING, ProgramStatus.STARTING}}
        for program in host.supervised.programs:
            if program.wanted is None and program.name not in running:
                await tell_supervisor(host, runner, host.supervisor.start_program(host.supervised, program.name))


def question_of(host: DesiredHost) -> HostQuestion:
    """Return how a host's programs are asked for."""
    return HostQuestion((), (), (), host.supervised, host.supervisor)


async def differing_files(host: DesiredHost, runner: Runner) -> list[HostPath]:
    """Return the supervisor's files that are not as declared, and what lies beside them."""
    wanted = {file.path: file.digest for file in host.supervisor_files}
    there = await runner.digest(wanted)
    beside = [host.layout.supervisor / name for name in await runner.listing(host.layout.supervisor)]
    return sorted({*(path for path in wanted if there.get(path) != wanted[path]), *(path for path in beside if path not in wanted)})


@dataclass(frozen=True)
class ProgramChanges:
    """How definitions differ from what the supervisor took over last."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    now: Mapping[str, str] = field(default_factory=dict)


async def changed_programs(host: DesiredHost, runner: Runner, known: set[str], running: set[str]) -> ProgramChanges:
    """Return which definitions the supervisor has to take over; those of running slots are left for their rollout."""
    before = await remembered_programs(host, runner)
    wanted = definitions_of(host)
    waits = {program.name for program in host.supervised.programs if program.wanted is not None and program.name in running}
    changed = {name for name in wanted if name in known and before.get(name) != wanted[name]}
    now = {name: before.get(name, "") if name in changed & waits else digest for name, digest in wanted.items()}
    return ProgramChanges(tuple(sorted(set(wanted) - known)), tuple(sorted(changed - waits)), tuple(sorted(known - set(wanted))), now)


async def remembered_programs(host: DesiredHost, runner: Runner) -> Mapping[str, str]:
    """Return which definitions the supervisor has taken over, as was noted; none if nothing was."""
    path = host.layout.loaded("supervisor")
    text = (await runner.read([path])).get(path)
    return TAKEN_OVER.validate_json(text) if text else {}


async def remember_programs(host: DesiredHost, runner: Runner, definitions: Mapping[str, str]) -> None:
    """Remember which definitions the supervisor has taken over."""
    await runner.change([PutFile(host.layout.loaded("supervisor"), (json.dumps(definitions, indent=1, sort_keys=True) + "\n").encode())])


async def end_leftovers(host: DesiredHost, runner: Runner, programs: Iterable[Program]) -> None:
    """End whatever of stopped programs lives on without the supervisor's knowledge; by today's wrapper. Raises CommandFailed if something cannot be ended."""
    await write_changed(runner, (file for file in host.base if file.path == host.layout.exec))
    await asyncio.gather(*(runner.run(ended(program, host.layout)) for program in programs))


async def end_program(host: DesiredHost, runner: Runner, name: str, stop_seconds: float, clock: Clock) -> None:
    """Stop a program so that it stays stopped, and end what of it lives on.

    Between the end of a program that fails and its next start a supervisor may take it for stopped already and start it again all the same:
    it is told until it shows the program as stopped, or without a process for longer than such a pause.
    Raises ApplyFailed if the supervisor refuses, CommandFailed if something cannot be ended.
    """
    limit = clock.now() + stop_seconds + SLACK_SECONDS
    while True:
        await tell_supervisor(host, runner, host.supervisor.stop_program(host.supervised, name, stop_seconds + SLACK_SECONDS))
        if await is_ended(host, runner, name, clock) or clock.now() >= limit:
            break
        await clock.sleep(POLL_SECONDS)
    await end_leftovers(host, runner, [program_of(host.supervised, name)])


async def is_ended(host: DesiredHost, runner: Runner, name: str, clock: Clock) -> bool:
    """Tell whether a program that was told to stop does not come back."""
    limit = clock.now() + RESTART_SECONDS
    while True:
        views = host.supervisor.parse_status(await runner.carry_out(host.supervisor.status(host.supervised)))
        status = next((view.status for view in views if view.name == name), ProgramStatus.STOPPED)
        if status is not ProgramStatus.FAILED or clock.now() >= limit:
            return status in {ProgramStatus.STOPPED, ProgramStatus.FAILED}
        await clock.sleep(POLL_SECONDS)


async def start_supervisor(host: DesiredHost, runner: Runner) -> None:
    """Start the supervisor so that it outlives us."""
    start = host.supervisor.start(host.supervised)
    if isinstance(start, Detached):
        await runner.start(start)
    else:
        await runner.run(start)


async def wait_for_supervisor(question: HostQuestion, runner: Runner, ports: Site) -> None:
    """Wait until the supervisor answers. Raises ApplyFailed when it does not."""
    clock = ports.store.clock
    limit = clock.now() + READY_SECONDS
    while await observe_programs(question, runner) is None:
        if clock.now() >= limit:
            raise ApplyFailed(f"{question.supervised.host}: its supervisor did not answer within {READY_SECONDS:g} s")
        await clock.sleep(POLL_SECONDS)
