"""The steps of an apply on one tier: checked, changed, verified, confirmed (docs/apply.md).

Invariant: a tier that does not work with its new files gets the old ones back, and only those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from manor.errors import ApplyFailed, CommandFailed, ManorError, NotRestored, Refused, Unreachable
from manor.estate.layout import tier_program
from manor.estate.topology import ServiceView, TrafficState
from manor.execution.base import Runner
from manor.execution.values import Act, HostPath, MakeFolder, PutFile, Remove
from manor.integrations.supervisors.base import ProgramStatus
from manor.observe.hosts import HostQuestion, observe_programs
from manor.observe.slots import read_slots, traffic_of
from manor.operations.step import Evidence, Here, Holds
from manor.reconcile.desired import DesiredHost, DesiredTier
from manor.reconcile.due import forget_due, is_due, mark_of, note_due
from manor.reconcile.keeping import (
    Told,
    contents,
    declared,
    is_mixed,
    is_there,
    keep_files,
    kept_in,
    note_told,
    present,
    put_files_back,
    read_told,
    whole_mark,
)
from manor.reconcile.parts import answer_of, find_master, judge_part, part_problem, pasted_problems, reload_part, remembered, untold
from manor.reconcile.returns import returned_traffic
from manor.reconcile.site import POLL_SECONDS, READY_SECONDS, SLACK_SECONDS, HostStep, Site, anyhow, remove_strays, tell_supervisor, with_parents, write_changed
from manor.state.clock import Clock

RELOAD_SECONDS = 3.0


@dataclass(frozen=True)
class CheckTier(HostStep):
    """Have the vendor's own checker judge the rendered files, in a folder of their own."""

    key: str
    kind = "check"
    precondition = "nothing of the tier was changed yet"
    postcondition = "its own program accepts the rendered files"
    compensation = "none needed: it judged copies in a folder of their own, which is removed"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.key}: checked by its own program"

    async def do(self, ports: Site, here: Here) -> Evidence:
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
    precondition = "exactly the old files are there, and a running process works by them"
    postcondition = "exactly the declared files are there, and a running process was seen to work by them"
    compensation = "exactly the kept old files are put back, and a process that was told of the new ones takes them over"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.key}: new files"

    async def observe(self, ports: Site, here: Here) -> Holds:
        """Tell whether its process was seen to take all new files over, or whether they are a mixture of old and new.

        One that does not run is written again: with which traffic it will start may have changed meanwhile.
        """
        tier, host, runner = ports.tier(self.host, self.key), ports.hosts[self.host], ports.runners[self.host]
        if await is_mixed(tier, host, runner, here):
            return Holds.neither(f"{self.key} has some old files and some new ones in {tier.node.folders.etc}")
        is_new = await present(tier, runner) == declared(tier) and await is_running(host, runner, tier)
        return Holds.post(f"{self.key}: runs with these files") if is_new and await self._has_taken_over(ports, here) else Holds.pre()

    async def _has_taken_over(self, ports: Site, here: Here) -> bool:
        """Tell whether the running process works by the new files: as was noted once it was seen, and as it says now."""
        tier, host, runner = ports.tier(self.host, self.key), ports.hosts[self.host], ports.runners[self.host]
        kept = kept_in(host, here, self.key)
        told = await read_told(kept, runner)
        if told is Told.NOTHING:
            return await is_there(whole_mark(kept), runner) and await works_by_them(host, runner, tier, await contents(kept, runner))
        return told is Told.TAKEN and await says_so(tier, runner)

    async def do(self, ports: Site, here: Here) -> Evidence:
        """Change it. Raises ApplyFailed when the old files are back, NotRestored when they are not."""
        tier, host, runner = ports.tier(self.host, self.key), ports.hosts[self.host], ports.runners[self.host]
        if tier.node.theirs is not None:
            await find_master(tier, runner)
        kept = kept_in(host, here, self.key)
        before = await keep_files(kept, tier, runner)
        await write_switch_files(ports, tier, runner)
        await note_due(host, tier, runner, before)
        await write_changed(runner, tier.files, tier.own_path)
        await remove_strays(tier.node.folders.etc, (file.path for file in tier.files), runner, tier.node.subject)
        if not await is_running(host, runner, tier):
            return f"{self.key}: written; starts below"
        if await works_by_them(host, runner, tier, before):
            return f"{self.key}: runs with these files already"
        await ports.fence(self.host, here.token)
        await note_told(kept, runner, Told.TOLD)
        try:
            word = await take_over(tier, host, runner, before, ports.store.clock)
            await verify(tier, host, runner, ports)
        except ManorError as error:
            await ports.fence(self.host, here.token)  # who has taken over meanwhile may have written files of its own
            await self._restore(tier, host, runner, before, error, ports)
        await note_told(kept, runner, Told.TAKEN)
        return f"{self.key}: {word}"

    async def compensate(self, ports: Site, here: Here) -> str:
        """Put exactly the old files back; a process that was told of the new ones takes the old ones over again."""
        await ports.fence(self.host, here.token)
        tier, host, runner = ports.tier(self.host, self.key), ports.hosts[self.host], ports.runners[self.host]
        kept = kept_in(host, here, self.key)
        await put_files_back(tier, runner, await contents(kept, runner))
        is_told = await read_told(kept, runner) is not Told.NOTHING and await is_running(host, runner, tier)
        if is_told:
            await self._work_by_old(tier, host, runner, ports)
        await forget_due(host, tier, runner)
        await note_told(kept, runner, Told.NOTHING)
        return f"{self.key}: the old files are back{', and it runs with them' if is_told else ''}"

    async def _work_by_old(self, tier: DesiredTier, host: DesiredHost, runner: Runner, ports: Site) -> None:
        await take_over(tier, host, runner, declared(tier), ports.store.clock)
        await verify(tier, host, runner, ports, is_restored=True)

    async def _restore(self, tier: DesiredTier, host: DesiredHost, runner: Runner, before: Mapping[str, bytes], error: ManorError, ports: Site) -> None:
        try:
            await put_files_back(tier, runner, before)
            await self._work_by_old(tier, host, runner, ports)
            await forget_due(host, tier, runner)
        except ManorError as second:
            raise NotRestored(
                f"{self.host}: {self.key} failed ({error}) and does not work with its old files either ({second}); "
                f"the new files are in {tier.node.folders.etc}, "
                f"the old ones in {host.layout.root}/ops/*/before/{self.key}; see {host.layout.readme} for the commands"
            ) from error
        raise ApplyFailed(f"{self.host}: {self.key} did not work with its new files ({error}); the old ones are back and it runs with them") from error


async def take_over(tier: DesiredTier, host: DesiredHost, runner: Runner, before: Mapping[str, bytes], clock: Clock) -> str:
    """Have a running tier take over the files that are there now, by reload or, where that is not enough, by restart."""
    if tier.node.theirs is not None:
        await reload_part(tier, runner)
        return "reloaded by its own master"
    if await is_due(host, tier, runner) or tier.proxy.needs_restart(before, await present(tier, runner)):
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
    clock, path = ports.store.clock, host.layout.loaded(tier.node.key)
    limit, problem = clock.now() + READY_SECONDS, "no answer yet"
    while clock.now() < limit:
        try:
            found = tier.proxy.parse_ready(await runner.carry_out(tier.proxy.ready(tier.node)))
            if not is_restored:
                found = found or tier.proxy.parse_loaded(tier.node, await runner.carry_out(tier.proxy.loaded(tier.node)))
        except (Unreachable, CommandFailed) as error:
            found = str(error)
        if found is None:
            if not is_restored:
                await runner.change([PutFile(path, f"{tier.digest}\n".encode()), Remove(mark_of(host, tier))])
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
    try:
        completed = await runner.carry_out(tier.proxy.observe_switch(tier.node, view))
    except (Unreachable, CommandFailed):
        return {}
    found: dict[str, TrafficState] = {}
    for server in view.servers:
        with suppress(ManorError, ValueError):  # it works by older files, which do not have this one
            known = tier.proxy.parse_switch(tier.node, replace(view, servers=(server,)), completed)
            found.update({one.name: one.traffic for one in known})
    return found


async def loaded(host: DesiredHost, runner: Runner, tier: DesiredTier) -> str:
    """Return what a tier's process was last seen to have taken over."""
    path = host.layout.loaded(tier.node.key)
    return (await runner.read([path])).get(path, b"").decode().strip()


async def says_so(tier: DesiredTier, runner: Runner) -> bool:
    """Tell whether a tier's process says that it works by the declared files."""
    answer = await answer_of(tier, runner)
    return answer is not None and tier.proxy.parse_loaded(tier.node, answer) is None


async def works_by_them(host: DesiredHost, runner: Runner, tier: DesiredTier, before: Mapping[str, bytes]) -> bool:
    """Tell whether a tier's process works by its files already; somebody else's may have been reloaded with what we just replaced."""
    if await loaded(host, runner, tier) != tier.digest or await is_due(host, tier, runner):
        return False
    if tier.node.theirs is None:
        return await says_so(tier, runner)
    return before == declared(tier) and not await part_problem(tier, runner)


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
    precondition = "the tier was started with the declared files"
    postcondition = "it answers and works by them, and that is noted"
    compensation = "none needed: it only waits and notes"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.key}: answers"

    async def do(self, ports: Site, here: Here) -> Evidence:
        """Wait for it."""
        tier, host, runner = ports.tier(self.host, self.key), ports.hosts[self.host], ports.runners[self.host]
        await verify(tier, host, runner, ports)
        return f"runs as {tier_program(self.key)}"


@dataclass(frozen=True)
class TellTier(HostStep):
    """Tell a balancer that keeps no file of ours which servers take traffic: it forgot when somebody reloaded it."""

    key: str
    kind = "tell"
    precondition = "the balancer treats servers otherwise than is remembered, and nobody took them out by hand"
    postcondition = "it treats them as is remembered, and that is noted"
    compensation = "none needed: what is remembered was right before, too"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.key}: told which servers take traffic"

    async def observe(self, ports: Site, here: Here) -> Holds:
        """Tell whether it does as is remembered, and that is noted."""
        tier, host, runner = ports.tier(self.host, self.key), ports.hosts[self.host], ports.runners[self.host]
        known = await remembered(ports.store, ports.wiring.environment.name)
        differing = [view.name for view in tier.node.services if await untold(host, tier, view, runner, known)]
        if differing or await loaded(host, runner, tier) != tier.digest:
            return Holds.pre(", ".join(differing))
        return Holds.post(f"{self.key}: {len(tier.node.services)} services as remembered")

    async def do(self, ports: Site, here: Here) -> Evidence:
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
    precondition = "a change of the tier was begun, and the apply has failed"
    postcondition = "it works with all old files or all new ones"
    compensation = "none needed: it only looks"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.key}: works"

    async def do(self, ports: Site, here: Here) -> Evidence:
        """Look. Raises NotRestored when it does not answer, or has neither the old files nor the new ones."""
        tier, host, runner = ports.tier(self.host, self.key), ports.hosts[self.host], ports.runners[self.host]
        if await is_mixed(tier, host, runner, here):
            raise NotRestored(f"{self.host}: {self.key} has some old files and some new ones in {tier.node.folders.etc}; `manor apply` finishes them")
        if await is_running(host, runner, tier):
            try:
                await verify(tier, host, runner, ports, is_restored=True)
            except ApplyFailed as error:
                raise NotRestored(f"{self.host}: {error}") from error
        return "works"
