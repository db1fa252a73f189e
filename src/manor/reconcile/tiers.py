"""The steps of an apply on one tier: checked, changed, verified, confirmed (docs/apply.md).

Invariant: a tier that does not work with its new files gets the old ones back, and only those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from manor.errors import ApplyFailed, CommandFailed, ManorError, NotRestored, Refused, Unreachable
from manor.estate.layout import tier_program
from manor.execution.base import Runner
from manor.execution.values import Act, HostPath, MakeFolder, PutFile, Remove
from manor.integrations.supervisors.base import ProgramStatus
from manor.observe.hosts import HostQuestion, observe_programs
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
    read_kept_served,
    read_told,
    whole_mark,
)
from manor.reconcile.parts import answer_of, find_master, judge_part, part_problem, pasted_problems, reload_part, remembered, untold
from manor.reconcile.serving import Served, require_back, require_foreseen, require_serving
from manor.reconcile.site import POLL_SECONDS, READY_SECONDS, SLACK_SECONDS, HostStep, Site, anyhow, remove_strays, tell_supervisor, with_parents, write_changed
from manor.reconcile.switching import all_traffic, keep_out, write_switch_files
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
    postcondition = "exactly the declared files are there, a running process was seen to work by them, and what was on the air is on it"
    compensation = "exactly the kept old files are put back, state files too, and a process that was told of the new ones takes them over"

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
        before = await keep_files(kept, tier, ports)
        served = await read_kept_served(kept, runner)
        if before == await present(tier, runner) and not await works_by_them(host, runner, tier, before):
            await self._require_harmless(tier, served, ports, here)
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
            await wait_ready(tier, runner, ports)
            await require_serving(ports, served, here.say)
            await ports.fence(self.host, here.token)
            await note_loaded(tier, host, runner)
        except ManorError as error:
            await ports.fence(self.host, here.token)  # who has taken over meanwhile may have written files of its own
            await self._restore(tier, before, Broken(error, here, served), ports)
        await note_told(kept, runner, Told.TAKEN)
        return f"{self.key}: {word}"

    async def _require_harmless(self, tier: DesiredTier, served: tuple[Served, ...], ports: Site, here: Here) -> None:
        """See that nothing is known beforehand against the change; that may have taken its time. Raises ApplyFailed, FencedOff."""
        try:
            await require_foreseen(ports, tier.node, served, here.say)
        except ApplyFailed as error:
            raise ApplyFailed(f"{self.host}: {self.key} was not changed: {error}") from error
        await ports.fence(self.host, here.token)

    async def compensate(self, ports: Site, here: Here) -> str:
        """Put exactly the old files back; a process that was told of the new ones takes the old ones over again."""
        await ports.fence(self.host, here.token)
        tier, host, runner = ports.tier(self.host, self.key), ports.hosts[self.host], ports.runners[self.host]
        kept = kept_in(host, here, self.key)
        is_told = await read_told(kept, runner) is not Told.NOTHING and await is_running(host, runner, tier)
        before = await contents(kept, runner)
        await (work_by_old(tier, before, kept, ports) if is_told else put_files_back(kept, tier, runner, before))
        await forget_due(host, tier, runner)
        await note_told(kept, runner, Told.NOTHING)
        return f"{self.key}: the old files are back{', and it runs with them' if is_told else ''}"

    async def _restore(self, tier: DesiredTier, before: Mapping[str, bytes], broken: Broken, ports: Site) -> None:
        """Put the old files back and see that it works by them. Raises ApplyFailed when it does, with programs that fail by themselves; else NotRestored."""
        host, error = ports.hosts[self.host], broken.error
        try:
            await work_by_old(tier, before, kept_in(host, broken.here, self.key), ports)
            missing = await require_back(ports, broken.served)
            await forget_due(host, tier, ports.runners[self.host])
        except ManorError as second:
            raise NotRestored(
                f"{self.host}: {self.key} failed ({error}) and does not work with its old files either ({second}); "
                f"the new files are in {tier.node.folders.etc}, "
                f"the old ones in {host.layout.root}/ops/*/before/{self.key}; see {host.layout.readme} for the commands"
            ) from error
        back = f"the old ones are back and it runs with them{f'; {missing}' if missing else ''}"
        raise ApplyFailed(f"{self.host}: {self.key} did not work with its new files ({error}); {back}") from error


@dataclass(frozen=True)
class Broken:
    """A tier that does not work with its new files: why, in which step, and what was on the air before."""

    error: ManorError
    here: Here
    served: tuple[Served, ...]


async def work_by_old(tier: DesiredTier, before: Mapping[str, bytes], kept: HostPath, ports: Site) -> None:
    """Have a running tier work by its old files again, with the traffic that it has. Raises ManorError if it does not."""
    host, runner = ports.hosts[tier.node.host], ports.runners[tier.node.host]
    traffic = await all_traffic(tier, runner)
    await put_files_back(kept, tier, runner, before)
    await take_over(tier, host, runner, declared(tier), ports.store.clock)
    await verify(tier, host, runner, ports, is_restored=True)
    await keep_out(tier, traffic, runner)


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
    await wait_ready(tier, runner, ports, is_restored=is_restored)
    if not is_restored:
        await note_loaded(tier, host, runner)


async def note_loaded(tier: DesiredTier, host: DesiredHost, runner: Runner) -> None:
    """Remember that a tier's process has taken the declared files over; no restart is due any more."""
    await runner.change([PutFile(host.layout.loaded(tier.node.key), f"{tier.digest}\n".encode()), Remove(mark_of(host, tier))])


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
    postcondition = "it works with all old files or all new ones, and has on the air what it had"
    compensation = "none needed: it only looks"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.key}: works"

    async def do(self, ports: Site, here: Here) -> Evidence:
        """Look. Raises NotRestored when it does not answer, has neither the old files nor the new ones, or what was on the air is not by its fault."""
        tier, host, runner = ports.tier(self.host, self.key), ports.hosts[self.host], ports.runners[self.host]
        if await is_mixed(tier, host, runner, here):
            raise NotRestored(f"{self.host}: {self.key} has some old files and some new ones in {tier.node.folders.etc}; `manor apply` finishes them")
        if await is_running(host, runner, tier):
            try:
                await verify(tier, host, runner, ports, is_restored=True)
                missing = await require_back(ports, await read_kept_served(kept_in(host, here, self.key), runner), is_settled=True)
            except ApplyFailed as error:
                raise NotRestored(f"{self.host}: {error}") from error
            if missing:
                return f"works; {missing}"
        return "works"
