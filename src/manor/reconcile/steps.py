"""The kinds of step of an apply: fence, prepare, check, change, supervise, load, sweep (docs/apply.md).

Invariant: nothing is written before every vendor's checker has accepted its part; a tier that does not work with its new files gets the old ones back.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import BaseModel, ConfigDict, Field

from manor.errors import ApplyFailed, CommandFailed, ManorError, NotRestored, Refused, Unreachable
from manor.estate.layout import tier_program
from manor.estate.topology import TierNode
from manor.estate.wiring import Wiring
from manor.execution.base import Runner
from manor.execution.values import Act, Command, Detached, Effect, FileAct, HostPath, MakeFolder, PutFile, PutLink, PutTree, Remove, Touch
from manor.integrations.supervisors.base import Program, ProgramStatus, ended
from manor.observe.hosts import HostQuestion, observe_programs
from manor.observe.slots import read_slots, traffic_of
from manor.operations.fencing import admit
from manor.operations.step import Evidence, Here, Holds, Step
from manor.reconcile.desired import DesiredFile, DesiredHost, DesiredTier
from manor.state.store import Store

READY_SECONDS = 20.0
POLL_SECONDS = 0.1
SLACK_SECONDS = 10.0


@dataclass(frozen=True)
class Site:
    """An environment as an apply acts on it."""

    wiring: Wiring
    hosts: Mapping[str, DesiredHost]
    runners: Mapping[str, Runner]
    store: Store
    state_id: str
    lease: str

    def tier(self, host: str, key: str) -> DesiredTier:
        """Return a tier of a host. Raises ManorError if the estate no longer has it."""
        for tier in self.hosts[host].tiers:
            if tier.node.key == key:
                return tier
        raise ManorError(f"{host} has no tier {key}")


@dataclass(frozen=True)
class HostStep(Step[Site]):
    """A step on one host; done again, it does the same."""

    host: str

    async def observe(self, ports: Site, here: Here) -> Holds:
        """Doing it again is harmless."""
        return Holds.pre()


@dataclass(frozen=True)
class FenceHost(HostStep):
    """Tell the host who acts now; it refuses who came before."""

    kind = "fence"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return "takes orders from this operation"

    async def act(self, ports: Site, here: Here) -> Evidence:
        """Write the token. Raises FencedOff for an older one, ManorError if the host belongs to another state folder."""
        await fence(ports.hosts[self.host], ports.runners[self.host], ports.state_id, ports.lease, here.token)
        return f"token {here.token}"


class Manifest(BaseModel):
    """What a host remembers: whose it is, and the newest token of each lease."""

    model_config = ConfigDict(frozen=True)
    state: str
    tokens: dict[str, int] = Field(default_factory=dict)


async def fence(host: DesiredHost, runner: Runner, state_id: str, lease: str, token: int) -> None:
    """Record a token in the host's manifest. Raises FencedOff, Refused."""
    path = host.layout.manifest
    text = (await runner.read([path])).get(path)
    manifest = Manifest.model_validate_json(text) if text else Manifest(state=state_id)
    if manifest.state != state_id:
        raise Refused(f"{host.name}: {path} says that another Manor ({manifest.state}) has charge of this host; take it over with that one, or remove the file")
    seen = admit(manifest.tokens, lease, token)
    if seen != manifest.tokens:
        content = Manifest(state=state_id, tokens=seen).model_dump_json(indent=1) + "\n"
        await runner.change([MakeFolder(path.parent), PutFile(path, content.encode(), 0o600)])


@dataclass(frozen=True)
class PrepareHost(HostStep):
    """Folders, wrapper, pages, certificate, handbook."""

    kind = "prepare"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return "folders, pages, certificate"

    async def act(self, ports: Site, here: Here) -> Evidence:
        """Write what differs."""
        host, runner = ports.hosts[self.host], ports.runners[self.host]
        layout = host.layout
        folders = [layout.root / name for name in ("etc", "run", "log", "releases", "slots", "shared", "ops", "state")]
        own = [folder for tier in host.tiers for folder in (tier.node.folders.etc, tier.node.folders.run, tier.node.folders.log, tier.node.folders.state)]
        slots = [layout.slot(program.name.rsplit("-", 1)[0], "a").parent for program in host.supervised.programs if program.wanted]
        static = [layout.slot(view.name, "a").parent for view in ports.wiring.services(self.host)]
        private = [
            MakeFolder(layout.sockets.parent, 0o700),
            MakeFolder(layout.sockets, 0o700),
            MakeFolder(layout.tls, 0o700),
            *host.supervisor.folders(host.supervised),
        ]
        await runner.change([*private, *(MakeFolder(path) for path in dict.fromkeys([*folders, layout.pages, layout.supervisor, *own, *slots, *static]))])
        changed = await write_changed(runner, host.base)
        return f"{changed} files"


async def write_changed(runner: Runner, files: Iterable[DesiredFile]) -> int:
    """Write the files that differ from what is there; return how many."""
    wanted = list(files)
    there = await runner.digest([file.path for file in wanted])
    acts = [put(file) for file in wanted if there.get(file.path) != file.digest]
    await runner.change(with_parents(acts))
    return len(acts)


def put(file: DesiredFile) -> PutFile:
    """Return the act that writes a file."""
    return PutFile(file.path, file.content, file.mode, Touch(subject=file.subject, effect=Effect.INCLUDE))


def with_parents(acts: Sequence[FileAct]) -> list[FileAct]:
    """Return the acts with the folders that their files need before them."""
    parents = dict.fromkeys(act.path.parent for act in acts if isinstance(act, PutFile | PutLink | PutTree))
    return [*(MakeFolder(path) for path in parents), *acts]


@dataclass(frozen=True)
class CheckTier(HostStep):
    """Have the vendor's own checker judge the rendered files, in a folder of their own."""

    key: str
    kind = "check"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.key}: checked by its own program"

    async def act(self, ports: Site, here: Here) -> Evidence:
        """Check. Raises Refused with the checker's words."""
        tier, runner = ports.tier(self.host, self.key), ports.runners[self.host]
        problems = await check_tier(tier, runner, ports.hosts[self.host].layout.operation(here.operation) / "check" / self.key)
        if problems:
            raise Refused(f"{self.host}: {self.key} refused: {'; '.join(problems)}; nothing was changed")
        return "accepted"


async def check_tier(tier: DesiredTier, runner: Runner, folder: HostPath) -> tuple[str, ...]:
    """Return what the vendor's checker refuses of a tier's files, judged in a folder of their own that is removed again."""
    etc = tier.node.folders.etc
    staged = [PutFile(folder / file.path.relative_to(etc), file.content, file.mode) for file in tier.files]
    await runner.change([MakeFolder(folder), *with_parents(staged)])
    node = rebased(tier, folder)
    try:
        completed = await runner.run(anyhow(tier.proxy.check(node), folder))
    finally:
        await runner.change([Remove(folder)])
    return tier.proxy.parse_check(completed)


def rebased(tier: DesiredTier, folder: HostPath) -> TierNode:
    """Return the tier's node with its files in another folder."""
    return replace(tier.node, folders=tier.node.folders.staged(folder))


def anyhow(command: Command, folder: HostPath) -> Command:
    """Return a command whose exit code is an answer, whatever it is, and that starts in a folder which is removed afterwards."""
    return replace(command, ok_codes=frozenset(range(256)), cwd=command.cwd or folder)


@dataclass(frozen=True)
class ChangeTier(HostStep):
    """Write a tier's files and have a running process take them over; put the old ones back if it does not work with them."""

    key: str
    kind = "change"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.key}: new files"

    async def act(self, ports: Site, here: Here) -> Evidence:
        """Change it. Raises ApplyFailed when the old files are back, NotRestored when they are not."""
        tier, host, runner = ports.tier(self.host, self.key), ports.hosts[self.host], ports.runners[self.host]
        before = await self._read_before(tier, host, runner, here)
        await write_switch_files(ports, tier, runner)
        await write_changed(runner, tier.files)
        await remove_strays(tier, runner)
        if not await is_running(host, runner, tier):
            return "written; it is not running yet"
        if await loaded(host, runner, tier) == tier.digest:
            return "running with them"
        try:
            word = await take_over(tier, host, runner, before)
            await verify(tier, host, runner, ports)
        except ManorError as error:
            await self._restore(tier, host, runner, before, error, ports)
        return word

    async def _read_before(self, tier: DesiredTier, host: DesiredHost, runner: Runner, here: Here) -> Mapping[str, bytes]:
        kept = host.layout.operation(here.operation) / "before" / self.key
        names = await runner.listing(kept)
        folder = kept if names else tier.node.folders.etc
        found = await runner.read([folder / name for name in await runner.listing(folder)])
        if not names and found:
            copies = [PutFile(kept / path.name, content, 0o600) for path, content in found.items()]
            await runner.change([MakeFolder(kept, 0o700), *copies])
        return {path.name: content for path, content in found.items()}

    async def _restore(self, tier: DesiredTier, host: DesiredHost, runner: Runner, before: Mapping[str, bytes], error: ManorError, ports: Site) -> None:
        etc = tier.node.folders.etc
        modes = {file.path.name: file.mode for file in tier.files}
        acts = [
            PutFile(etc / name, content, modes.get(name, 0o644), Touch(subject=tier.node.subject, effect=Effect.INCLUDE)) for name, content in before.items()
        ]
        try:
            await runner.change(acts)
            await take_over(tier, host, runner, {file.path.name: file.content for file in tier.files})
            await verify(tier, host, runner, ports, remember=False)
        except ManorError as second:
            raise NotRestored(
                f"{self.host}: {self.key} failed ({error}) and does not work with its old files either ({second}); the new files are in {etc}, "
                f"the old ones in {host.layout.root}/ops/*/before/{self.key}; see {host.layout.readme} for the commands"
            ) from error
        raise ApplyFailed(f"{self.host}: {self.key} did not work with its new files ({error}); the old ones are back and it runs with them") from error


async def tell_supervisor(host: DesiredHost, runner: Runner, act: Act) -> None:
    """Have the supervisor do something. Raises ApplyFailed with what went wrong."""
    problem = host.supervisor.parse_done(act, await runner.carry_out(act))
    if problem is not None:
        raise ApplyFailed(f"{host.name}: {host.supervisor.name}: {problem}")


async def end_leftovers(host: DesiredHost, runner: Runner, programs: Iterable[Program]) -> None:
    """End whatever of stopped programs lives on without the supervisor's knowledge; by today's wrapper. Raises CommandFailed if something cannot be ended."""
    await write_changed(runner, (file for file in host.base if file.path == host.layout.exec))
    await asyncio.gather(*(runner.run(ended(program, host.layout)) for program in programs))


async def take_over(tier: DesiredTier, host: DesiredHost, runner: Runner, before: Mapping[str, bytes]) -> str:
    """Have a running tier take over the files that are there now, by reload or, where that is not enough, by restart."""
    now = await runner.read([tier.node.folders.etc / name for name in await runner.listing(tier.node.folders.etc)])
    if tier.proxy.needs_restart(before, {path.name: content for path, content in now.items()}):
        for program in tier.proxy.programs(tier.node):
            await tell_supervisor(host, runner, host.supervisor.stop_program(host.supervised, program.name, program.stop_seconds + SLACK_SECONDS))
            await tell_supervisor(host, runner, host.supervisor.start_program(host.supervised, program.name))
        return "restarted"
    for act in tier.proxy.reload(tier.node):
        await runner.carry_out(act)
    return "reloaded"


async def verify(tier: DesiredTier, host: DesiredHost, runner: Runner, ports: Site, *, remember: bool = True) -> None:
    """Wait until a tier answers on its admin side, and remember what it has loaded. Raises ApplyFailed when it does not."""
    clock, path = ports.store.clock, host.layout.loaded(tier.node.key)
    limit, problem = clock.now() + READY_SECONDS, "no answer yet"
    while clock.now() < limit:
        try:
            found = tier.proxy.parse_ready(await runner.carry_out(tier.proxy.ready(tier.node)))
            found = found or tier.proxy.parse_loaded(tier.node, await runner.carry_out(tier.proxy.loaded(tier.node)))
        except (Unreachable, CommandFailed) as error:
            found = str(error)
        if found is None:
            if remember:
                await runner.change([PutFile(path, f"{tier.digest}\n".encode())])
            return
        problem = found
        await clock.sleep(POLL_SECONDS)
    raise ApplyFailed(f"{tier.node.key} did not answer within {READY_SECONDS:g} s: {problem}")


async def write_switch_files(ports: Site, tier: DesiredTier, runner: Runner) -> None:
    """Write a switching tier's state files as the store has them, so that it starts and reloads with the right slots."""
    if not tier.node.is_switching:
        return
    rows = await read_slots(ports.store, ports.wiring.environment.name)
    for view in tier.node.services:
        await runner.change(with_parents(tier.proxy.switch_files(tier.node, view, traffic_of(view, rows))))


async def remove_strays(tier: DesiredTier, runner: Runner) -> None:
    """Remove files of a tier that are no longer declared."""
    etc = tier.node.folders.etc
    wanted = {file.path for file in tier.files}
    strays = [etc / name for name in await runner.listing(etc) if not any(is_at_or_under(path, etc / name) for path in wanted)]
    await runner.change([Remove(path, Touch(subject=tier.node.subject, effect=Effect.INCLUDE)) for path in strays])


def is_at_or_under(path: HostPath, folder: HostPath) -> bool:
    """Tell whether a path is, or lies in, a folder."""
    return path == folder or folder in path.parents


async def loaded(host: DesiredHost, runner: Runner, tier: DesiredTier) -> str:
    """Return what a tier's process was last seen to have taken over."""
    path = host.layout.loaded(tier.node.key)
    return (await runner.read([path])).get(path, b"").decode().strip()


async def is_running(host: DesiredHost, runner: Runner, tier: DesiredTier) -> bool:
    """Tell whether all of a tier's programs run."""
    question = HostQuestion((), (), (), host.supervised, host.supervisor)
    views = {view.name: view.status for view in await observe_programs(question, runner) or ()}
    return all(views.get(program.name) is ProgramStatus.RUNNING for program in tier.proxy.programs(tier.node))


@dataclass(frozen=True)
class Supervise(HostStep):
    """Have the supervisor run what is declared: started if need be, told of what changed."""

    kind = "supervise"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return "programs as declared"

    async def act(self, ports: Site, here: Here) -> Evidence:
        """Do it. A changed definition of a running slot waits for its next rollout."""
        host, runner = ports.hosts[self.host], ports.runners[self.host]
        await self._check(host, runner, here)
        await write_changed(runner, host.supervisor_files)
        question = HostQuestion((), (), (), host.supervised, host.supervisor)
        views = await observe_programs(question, runner)
        if views is None:
            await start_supervisor(host, runner)
            await wait_for_supervisor(question, runner, ports)
            views = await observe_programs(question, runner) or ()
            await remember_programs(host, runner, host_definitions(host))
        changes = await changed_programs(host, runner, {view.name for view in views}, {view.name for view in views if view.status is ProgramStatus.RUNNING})
        for act in host.supervisor.update(host.supervised, changes.added, changes.changed, changes.removed):
            await tell_supervisor(host, runner, act)
        await remember_programs(host, runner, changes.now)
        await self._start_tiers(host, runner)
        return f"{len(changes.added)} added, {len(changes.changed)} changed, {len(changes.removed)} removed"

    async def _check(self, host: DesiredHost, runner: Runner, here: Here) -> None:
        folder = host.layout.operation(here.operation) / "check" / "supervisor"
        staged = [PutFile(folder / file.path.name, file.content, file.mode) for file in host.supervisor_files]
        await runner.change([MakeFolder(folder), *staged])
        completed = await runner.run(anyhow(host.supervisor.check(host.supervised, folder), folder))
        await runner.change([Remove(folder)])
        problems = host.supervisor.parse_check(completed)
        if problems:
            raise Refused(f"{self.host}: {host.supervisor.name} refused: {'; '.join(problems)}; nothing was changed")

    async def _start_tiers(self, host: DesiredHost, runner: Runner) -> None:
        question = HostQuestion((), (), (), host.supervised, host.supervisor)
        running = {view.name for view in await observe_programs(question, runner) or () if view.status in {ProgramStatus.RUNNING, ProgramStatus.STARTING}}
        for program in host.supervised.programs:
            if program.wanted is None and program.name not in running:
                await tell_supervisor(host, runner, host.supervisor.start_program(host.supervised, program.name))


@dataclass(frozen=True)
class ProgramChanges:
    """How definitions differ from what the supervisor took over last."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    now: Mapping[str, str] = field(default_factory=dict)


async def changed_programs(host: DesiredHost, runner: Runner, known: set[str], running: set[str]) -> ProgramChanges:
    """Return which definitions the supervisor has to take over; those of running slots are left for their rollout."""
    path = host.layout.loaded("supervisor")
    text = (await runner.read([path])).get(path)
    before: Mapping[str, str] = json.loads(text) if text else {}
    wanted = host_definitions(host)
    waits = {program.name for program in host.supervised.programs if program.wanted is not None and program.name in running}
    changed = {name for name in wanted if name in known and before.get(name) != wanted[name]}
    now = {name: before.get(name, "") if name in changed & waits else digest for name, digest in wanted.items()}
    return ProgramChanges(tuple(sorted(set(wanted) - known)), tuple(sorted(changed - waits)), tuple(sorted(known - set(wanted))), now)


def host_definitions(host: DesiredHost) -> Mapping[str, str]:
    """Return a digest of each program's definition."""
    return {program.name: hashlib.sha256(repr(program).encode()).hexdigest() for program in host.supervised.programs}


async def remember_programs(host: DesiredHost, runner: Runner, definitions: Mapping[str, str]) -> None:
    """Remember which definitions the supervisor has taken over."""
    await runner.change([PutFile(host.layout.loaded("supervisor"), (json.dumps(definitions, indent=1, sort_keys=True) + "\n").encode())])


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
            raise ApplyFailed(f"{question.supervised.host}: {question.supervisor.name} did not answer within {READY_SECONDS:g} s")
        await clock.sleep(POLL_SECONDS)


@dataclass(frozen=True)
class VerifyTier(HostStep):
    """Wait until a tier answers."""

    key: str
    kind = "verify"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.key}: answers"

    async def act(self, ports: Site, here: Here) -> Evidence:
        """Wait for it."""
        tier, host, runner = ports.tier(self.host, self.key), ports.hosts[self.host], ports.runners[self.host]
        await verify(tier, host, runner, ports)
        return f"runs as {tier_program(self.key)}"


KINDS: tuple[type[Step[Site]], ...] = (FenceHost, PrepareHost, CheckTier, ChangeTier, Supervise, VerifyTier)
