"""The steps of an apply on one tier: checked, changed, verified, confirmed (docs/apply.md).

Invariant: a tier that does not work with its new files gets the old ones back, and only those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from manor.errors import ApplyFailed, CommandFailed, ManorError, NotRestored, Refused, Unreachable
from manor.estate.layout import tier_program
from manor.estate.topology import ServiceView, TrafficState
from manor.execution.base import Runner
from manor.execution.values import Act, Effect, HostPath, MakeFolder, PutFile, Remove, Touch
from manor.integrations.supervisors.base import ProgramStatus
from manor.observe.hosts import HostQuestion, observe_programs
from manor.observe.slots import read_slots, traffic_of
from manor.operations.step import Evidence, Here
from manor.reconcile.desired import DesiredHost, DesiredTier
from manor.reconcile.parts import find_master, judge_part, part_problem, pasted_problems, reload_part, remembered, untold
from manor.reconcile.returns import returned_traffic
from manor.reconcile.serving import SERVED, Served, read_served, require_back, require_foreseen, require_serving, servers_now
from manor.reconcile.site import POLL_SECONDS, READY_SECONDS, SLACK_SECONDS, HostStep, Site, anyhow, remove_strays, tell_supervisor, with_parents, write_changed
from manor.state.clock import Clock

RELOAD_SECONDS = 3.0
UNKNOWN_MODE = 0o640
"""Of a file that is put back and that the declared tier no longer has."""


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
            raise Refused(f"{self.host}: {self.key} refused: {'; '.join(problems)}; no tier was changed")
        return f"{self.key}: {tier.proxy.name} {'accepts it' if tier.node.has_files else 'shows what was to be pasted'}"


async def check_tier(tier: DesiredTier, runner: Runner, folder: HostPath) -> tuple[str, ...]:
    """Return what the vendor's checker refuses of a tier's files, judged in a folder of their own that is removed again."""
    try:
        if tier.node.theirs is not None:
            return await check_part(tier, runner, folder)
        etc = tier.node.folders.etc
        staged = [PutFile(folder / file.path.relative_to(etc), file.content, file.mode) for file in tier.files]
        await runner.change([MakeFolder(folder), *with_parents(staged)])
        completed = await runner.run(anyhow(tier.proxy.check(tier.rebased(folder)), folder))
    finally:
        await runner.change([Remove(folder)])
    return tier.proxy.parse_check(completed)


async def check_part(tier: DesiredTier, runner: Runner, folder: HostPath) -> tuple[str, ...]:
    """Return what stands in the way of a part of somebody else's program: it must run, and its own checker accept all files together.

    Where there are no files, what is shown over the socket must be what was to be pasted.
    """
    if not tier.node.has_files:
        return await pasted_problems(tier, runner)
    try:
        master = await find_master(tier, runner)
    except ManorError as error:
        return (str(error),)
    return await judge_part(tier, tier.rebased(folder), runner, master.argv)


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
        if tier.node.theirs is not None:
            await find_master(tier, runner)
        before = await self._read_before(tier, host, runner, here, ports)
        served = await read_kept_served(self._kept(host, here), runner)
        if before == await present(tier, runner) and not await works_by_them(host, runner, tier, before):
            await self._require_harmless(tier, served, ports)
        await write_switch_files(ports, tier, runner)
        await write_changed(runner, tier.files, tier.own_path)
        await remove_strays(tier.node.folders.etc, (file.path for file in tier.files), runner, tier.node.subject)
        if not await is_running(host, runner, tier):
            return f"{self.key}: written; starts below"
        if await works_by_them(host, runner, tier, before):
            return f"{self.key}: runs with these files already"
        try:
            word = await take_over(tier, host, runner, before, ports.store.clock)
            await wait_ready(tier, runner, ports)
            await require_serving(ports, served, here.say)
            await note_loaded(tier, host, runner)
        except ManorError as error:
            await self._restore(tier, before, Broken(error, here, served), ports)
        return f"{self.key}: {word}"

    async def _require_harmless(self, tier: DesiredTier, served: tuple[Served, ...], ports: Site) -> None:
        """See that nothing is known beforehand against the change. Raises ApplyFailed."""
        try:
            await require_foreseen(ports, tier.node, served)
        except ApplyFailed as error:
            raise ApplyFailed(f"{self.host}: {self.key} was not changed: {error}") from error

    def _kept(self, host: DesiredHost, here: Here) -> HostPath:
        return kept_in(host, here, self.key)

    async def _read_before(self, tier: DesiredTier, host: DesiredHost, runner: Runner, here: Here, ports: Site) -> Mapping[str, bytes]:
        """Keep the files as they are, and what is on the air, unless a try before this one did: by then they may be half-way new."""
        kept = self._kept(host, here)
        if await is_kept(kept, runner):
            return await contents(kept, runner)
        before = await present(tier, runner)
        copies = [PutFile(kept / name, content, 0o600) for name, content in before.items()]
        traffic = [PutFile(switch_copy(kept, path), content, 0o600) for path, content in (await runner.read(switch_paths(tier))).items()]
        served = PutFile(served_file(kept), SERVED.dump_json(await read_served(ports, tier)))
        await runner.change([Remove(kept), MakeFolder(kept, 0o700), *copies, *with_parents(traffic), served, PutFile(whole_mark(kept), b"")])
        return before

    async def _restore(self, tier: DesiredTier, before: Mapping[str, bytes], broken: Broken, ports: Site) -> None:
        """Put the old files back and see that it works by them. Raises ApplyFailed when it does, NotRestored when it does not."""
        host, error, etc = ports.hosts[self.host], broken.error, tier.node.folders.etc
        try:
            await put_back(tier, before, self._kept(host, broken.here), ports)
            await require_back(ports, broken.served)
        except ManorError as second:
            raise NotRestored(
                f"{self.host}: {self.key} failed ({error}) and does not work with its old files either ({second}); the new files are in {etc}, "
                f"the old ones in {host.layout.root}/ops/*/before/{self.key}; see {host.layout.readme} for the commands"
            ) from error
        raise ApplyFailed(f"{self.host}: {self.key} did not work with its new files ({error}); the old ones are back and it runs with them") from error


@dataclass(frozen=True)
class Broken:
    """A tier that does not work with its new files: why, in which step, and what was on the air before."""

    error: ManorError
    here: Here
    served: tuple[Served, ...]


async def put_back(tier: DesiredTier, before: Mapping[str, bytes], kept: HostPath, ports: Site) -> None:
    """Have a tier work by its old files again, with the traffic that it has. Raises ManorError if it does not."""
    host, runner, etc, own = ports.hosts[tier.node.host], ports.runners[tier.node.host], tier.node.folders.etc, tier.own_path
    touch = Touch(subject=tier.node.subject, effect=Effect.INCLUDE)
    modes = {file.path.name: file.mode for file in tier.files}
    acts = [PutFile(tier.paths.get(name, etc / name), content, modes.get(name, UNKNOWN_MODE), touch) for name, content in before.items()]
    gone = [Remove(own, touch)] if own is not None and own.name not in before else []
    traffic = {view.name: await traffic_now(tier, view, runner) for view in switched(tier)}
    await runner.change([*acts, *gone, *await old_switch_files(tier, kept, runner)])
    await remove_strays(etc, (etc / name for name in before), runner, tier.node.subject)
    await take_over(tier, host, runner, {file.path.name: file.content for file in tier.files}, ports.store.clock)
    await verify(tier, host, runner, ports, is_restored=True)
    await keep_out(tier, traffic, runner)


async def old_switch_files(tier: DesiredTier, kept: HostPath, runner: Runner) -> list[PutFile]:
    """Return the acts that put state files back which the change wrote otherwise: they name ports too."""
    now = await runner.read(switch_paths(tier))
    old = await runner.read([switch_copy(kept, path) for path in now])
    touch = Touch(subject=tier.node.subject, effect=Effect.INCLUDE)
    found = {path: old.get(switch_copy(kept, path)) for path in now}
    return [PutFile(path, content, touch=touch) for path, content in found.items() if content is not None and content != now[path]]


async def keep_out(tier: DesiredTier, traffic: Mapping[str, Mapping[str, TrafficState]], runner: Runner) -> None:
    """Take out of traffic again what was out of it: an old state file may not know of it."""
    for view in switched(tier):
        now = await traffic_now(tier, view, runner)
        out = {name: state for name, state in traffic[view.name].items() if state is not TrafficState.READY and now.get(name, state) is not state}
        for act in tier.proxy.switch(tier.node, view, out) if out else ():
            await runner.carry_out(act)


async def take_over(tier: DesiredTier, host: DesiredHost, runner: Runner, before: Mapping[str, bytes], clock: Clock) -> str:
    """Have a running tier take over the files that are there now, by reload or, where that is not enough, by restart."""
    if tier.node.theirs is not None:
        await reload_part(tier, runner)
        return "reloaded by its own master"
    if tier.proxy.needs_restart(before, await present(tier, runner)):
        for program in tier.programs:
            await tell_supervisor(host, runner, host.supervisor.stop_program(host.supervised, program.name, program.stop_seconds + SLACK_SECONDS))
            await tell_supervisor(host, runner, host.supervisor.start_program(host.supervised, program.name))
        return "restarted"
    await tell_reload(tier.proxy.reload(tier.node), runner, clock)
    return "reloaded"


async def tell_reload(acts: Iterable[Act], runner: Runner, clock: Clock) -> None:
    """Tell a running tier to reload; a master that is reloading just now may not listen for a moment. Raises Unreachable."""
    limit = clock.now() + RELOAD_SECONDS
    for act in acts:
        while True:
            try:
                await runner.carry_out(act)
                break
            except Unreachable:
                if clock.now() >= limit:
                    raise
            await clock.sleep(POLL_SECONDS)


async def verify(tier: DesiredTier, host: DesiredHost, runner: Runner, ports: Site, *, is_restored: bool = False) -> None:
    """Wait until a tier answers and works by the declared files, and remember that; after a return to the old ones answering is enough.

    Raises ApplyFailed when it does not in time.
    """
    if is_restored and tier.node.theirs is not None:
        await find_master(tier, runner)  # with the old files it may answer nothing of ours
        return
    await wait_ready(tier, runner, ports, is_restored=is_restored)
    if not is_restored:
        await note_loaded(tier, host, runner)


async def note_loaded(tier: DesiredTier, host: DesiredHost, runner: Runner) -> None:
    """Remember that a tier's process has taken the declared files over."""
    await runner.change([PutFile(host.layout.loaded(tier.node.key), f"{tier.digest}\n".encode())])


async def wait_ready(tier: DesiredTier, runner: Runner, ports: Site, *, is_restored: bool = False) -> None:
    """Wait until a tier answers and, unless it has its old files again, works by the declared ones. Raises ApplyFailed."""
    clock = ports.store.clock
    limit, problem = clock.now() + READY_SECONDS, "no answer yet"
    while clock.now() < limit:
        try:
            found = tier.proxy.parse_ready(await runner.carry_out(tier.proxy.ready(tier.node)))
            if not is_restored:
                found = found or tier.proxy.parse_loaded(tier.node, await runner.carry_out(tier.proxy.loaded(tier.node)))
        except (Unreachable, CommandFailed) as error:
            found = str(error)
        if found is None:
            return
        problem = found
        await clock.sleep(POLL_SECONDS)
    raise ApplyFailed(f"{tier.node.key} did not answer within {READY_SECONDS:g} s: {problem}")


async def write_switch_files(ports: Site, tier: DesiredTier, runner: Runner) -> None:
    """Write a switching tier's state files, so that it starts and reloads with the traffic that it has; as the store has it where it does not run."""
    if not tier.node.is_switching:
        return
    rows = await read_slots(ports.store, ports.wiring.environment.name)
    for view in tier.node.services:
        returned = await returned_traffic(runner, ports.hosts[tier.node.host].layout.guard(view.name), tier.proxy)
        traffic = {**traffic_of(view, rows), **returned, **await traffic_now(tier, view, runner)}
        await runner.change(with_parents(tier.proxy.switch_files(tier.node, view, traffic)))


async def traffic_now(tier: DesiredTier, view: ServiceView, runner: Runner) -> Mapping[str, TrafficState]:
    """Return how a running process treats those servers of a service that it knows; nothing if it does not answer."""
    return {one.name: one.traffic for one in await servers_now(tier, view, runner)}


def switched(tier: DesiredTier) -> tuple[ServiceView, ...]:
    """Return the services that a tier switches."""
    return tier.node.services if tier.node.is_switching else ()


def switch_paths(tier: DesiredTier) -> tuple[HostPath, ...]:
    """Return the state files of a switching tier."""
    states = {view.name: {server.name: TrafficState.READY for server in view.servers} for view in switched(tier)}
    acts = [act for view in switched(tier) for act in tier.proxy.switch_files(tier.node, view, states[view.name])]
    return tuple(act.path for act in acts if isinstance(act, PutFile))


async def loaded(host: DesiredHost, runner: Runner, tier: DesiredTier) -> str:
    """Return what a tier's process was last seen to have taken over."""
    path = host.layout.loaded(tier.node.key)
    return (await runner.read([path])).get(path, b"").decode().strip()


async def works_by_them(host: DesiredHost, runner: Runner, tier: DesiredTier, before: Mapping[str, bytes]) -> bool:
    """Tell whether a tier's process works by its files already; somebody else's may have been reloaded with what we just replaced."""
    if await loaded(host, runner, tier) != tier.digest:
        return False
    if tier.node.theirs is None:
        return True
    return before == {file.path.name: file.content for file in tier.files} and not await part_problem(tier, runner)


async def is_running(host: DesiredHost, runner: Runner, tier: DesiredTier) -> bool:
    """Tell whether all of a tier's programs run."""
    question = HostQuestion((), (), (), host.supervised, host.supervisor)
    views = {view.name: view.status for view in await observe_programs(question, runner) or ()}
    return all(views.get(program.name) is ProgramStatus.RUNNING for program in tier.programs)


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


@dataclass(frozen=True)
class TellTier(HostStep):
    """Tell a balancer that keeps no file of ours which servers take traffic: it forgot when somebody reloaded it."""

    key: str
    kind = "tell"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.key}: told which servers take traffic"

    async def act(self, ports: Site, here: Here) -> Evidence:
        """Tell it what it does otherwise."""
        tier, host, runner = ports.tier(self.host, self.key), ports.hosts[self.host], ports.runners[self.host]
        known = await remembered(ports.store, ports.wiring.environment.name)
        for view in tier.node.services:
            changes = {name: wanted for name, (_, wanted) in (await untold(host, tier, view, runner, known)).items()}
            for act in tier.proxy.switch(tier.node, view, changes) if changes else ():
                await runner.carry_out(act)
        await runner.change([PutFile(host.layout.loaded(self.key), f"{tier.digest}\n".encode())])
        return f"{self.key}: {len(tier.node.services)} services as remembered"


@dataclass(frozen=True)
class ConfirmTier(HostStep):
    """After a failure: make sure that a tier whose change was begun works, with the old files or the new."""

    key: str
    kind = "confirm"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.key}: works"

    async def act(self, ports: Site, here: Here) -> Evidence:
        """Look. Raises NotRestored when it does not answer, has neither the old files nor the new ones, or what was on the air is not."""
        tier, host, runner = ports.tier(self.host, self.key), ports.hosts[self.host], ports.runners[self.host]
        if await is_mixed(tier, host, runner, here):
            raise NotRestored(f"{self.host}: {self.key} has some old files and some new ones in {tier.node.folders.etc}; `manor apply` finishes them")
        if await is_running(host, runner, tier):
            try:
                await verify(tier, host, runner, ports, is_restored=True)
                await require_back(ports, await read_kept_served(kept_in(host, here, self.key), runner), is_settled=True)
            except ApplyFailed as error:
                raise NotRestored(f"{self.host}: {error}") from error
        return "works"


async def is_mixed(tier: DesiredTier, host: DesiredHost, runner: Runner, here: Here) -> bool:
    """Tell whether a tier's files are neither all as declared nor all as they were before this operation."""
    kept = kept_in(host, here, tier.node.key)
    if not await is_kept(kept, runner):  # the first file is written only after that
        return False
    now, before = await present(tier, runner), await contents(kept, runner)
    has_old = bool(before) or tier.own_path is not None  # a part works without our file, too
    return has_old and now not in ({file.path.name: file.content for file in tier.files}, before)


def kept_in(host: DesiredHost, here: Here, key: str) -> HostPath:
    """Return where an operation keeps a tier's files as they were before it."""
    return host.layout.operation(here.operation) / "before" / key


def whole_mark(kept: HostPath) -> HostPath:
    """Return the file that is written last: without it the copies beside it may be some of several."""
    return kept.with_name(f"{kept.name}.whole")


def served_file(kept: HostPath) -> HostPath:
    """Return where it is kept what was on the air before a tier's change."""
    return kept.with_name(f"{kept.name}.served")


def switch_copy(kept: HostPath, path: HostPath) -> HostPath:
    """Return where a state file is kept as it was."""
    return kept.with_name(f"{kept.name}.switch") / path.name


async def read_kept_served(kept: HostPath, runner: Runner) -> tuple[Served, ...]:
    """Return what was on the air before the first try at a tier's change."""
    path = served_file(kept)
    text = (await runner.read([path])).get(path)
    return SERVED.validate_json(text) if text else ()


async def is_kept(kept: HostPath, runner: Runner) -> bool:
    """Tell whether all files were kept."""
    mark = whole_mark(kept)
    return mark in await runner.digest([mark])


async def present(tier: DesiredTier, runner: Runner) -> Mapping[str, bytes]:
    """Return a tier's files as they are, by name: all of its folder, and its own in somebody else's."""
    own = tier.own_path
    beside = await runner.read([own]) if own is not None else {}
    return {**await contents(tier.node.folders.etc, runner), **{path.name: content for path, content in beside.items()}}


async def contents(folder: HostPath, runner: Runner) -> Mapping[str, bytes]:
    """Return the files of a folder by name."""
    found = await runner.read([folder / name for name in await runner.listing(folder)])
    return {path.name: content for path, content in found.items()}
