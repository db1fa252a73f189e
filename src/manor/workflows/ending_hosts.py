"""The steps that take an environment down: its probes ended, our files out of other people's programs, then every host, then its addresses given back.

Invariant: a host counts as down only when the last thing that an apply left on it is gone; until then it is ended again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from manor.errors import ApplyFailed, CommandFailed, Refused, Unreachable
from manor.execution.base import Runner
from manor.execution.values import Effect, HostPath, Remove, Touch
from manor.observe.hosts import observe_programs
from manor.operations.planning import Result
from manor.operations.step import Evidence, Here, Holds, Planned, Step, StepKinds
from manor.reconcile.desired import DesiredHost
from manor.reconcile.parts import require_dispensable, withdraw
from manor.reconcile.plan import SUPERVISOR_MARK
from manor.reconcile.returns import end_guards
from manor.reconcile.site import Site, fence, tell_supervisor
from manor.reconcile.supervising import end_leftovers
from manor.state import operations, places
from manor.state.operations import Operation
from manor.state.store import Store
from manor.state.words import OperationState
from manor.workflows.applying import question_of
from manor.workflows.context import Context
from manor.workflows.probing import LocalProber

VERB = "down"
MOST_OPERATIONS = 100
END_SECONDS = 300.0


class Ending(Protocol):
    """An environment, as its end needs it."""

    async def end_probes(self) -> int:
        """End the probes of rollouts that nobody went on with; return how many operations were looked at."""
        ...

    async def require_dispensable(self, host: str, key: str, here: Here) -> None:
        """Raise Refused if a program of somebody else does not hold without our file."""
        ...

    async def end_part(self, host: str, key: str, here: Here) -> str:
        """Take a tier out of a program of somebody else; return what was done. Raises NotRestored if that goes on with our file."""
        ...

    async def is_up(self, host: str) -> bool:
        """Tell whether anything is left on a host that an apply started or remembers."""
        ...

    async def end_host(self, host: str, here: Here) -> str:
        """End every program of a host and what they left; return what was done. Raises ManorError with what would not end."""
        ...

    async def has_place(self) -> bool:
        """Tell whether the environment has addresses on this machine."""
        ...

    async def give_back(self) -> None:
        """Give the addresses back."""
        ...


@dataclass(frozen=True)
class EndProbes(Step[Ending]):
    """End the probes that nobody will: a rollout that was never gone on with leaves one behind."""

    kind = "end-probes"
    precondition = "the environment is being taken down, and no rollout goes on"
    postcondition = "no probe of its rollouts asks"
    compensation = "none needed: what the probes saw is kept"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return "probes of rollouts that nobody went on with end"

    async def observe(self, ports: Ending, here: Here) -> Holds:
        """End them again: one that has ended stays so."""
        return Holds.pre()

    async def act(self, ports: Ending, here: Here) -> Evidence:
        """End them. Raises TimedOut if one does not."""
        return f"{await ports.end_probes()} rollouts looked at"


@dataclass(frozen=True)
class JudgePart(Step[Ending]):
    """Have the checker of a program of somebody else judge its files without ours. A step of the controller: if they don't hold, nothing at all is ended."""

    at: str
    key: str
    kind = "judge-part"
    precondition = "nothing of the environment was ended yet"
    postcondition = "your own files hold without Manor's"
    compensation = "none needed: it judged copies in a folder of their own, which is removed"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.at}: {self.key}: your files are judged without Manor's"

    async def observe(self, ports: Ending, here: Here) -> Holds:
        """Ask again: an answer that nobody wrote down is none."""
        return Holds.pre()

    async def act(self, ports: Ending, here: Here) -> Evidence:
        """Judge them. Raises Refused."""
        await ports.require_dispensable(self.at, self.key, here)
        return f"{self.at}: {self.key}: your files hold without Manor's"


@dataclass(frozen=True)
class EndPart(Step[Ending]):
    """Take our file out of a program of somebody else, or have it send nothing more to our servers, before anything behind it ends."""

    at: str
    key: str
    kind = "end-part"
    precondition = "your files hold without Manor's"
    postcondition = "your program works without Manor's file, or sends nothing to its servers"
    compensation = "Manor's file is put back when your program goes on with it; else the way back is `manor up`"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.at}: {self.key}: Manor's file goes from your program"

    async def observe(self, ports: Ending, here: Here) -> Holds:
        """Doing it again is harmless: what is gone already is left alone."""
        return Holds.pre()

    async def act(self, ports: Ending, here: Here) -> Evidence:
        """Take it out. Raises NotRestored; then everything behind it goes on, too."""
        return f"{self.at}: {self.key}: {await ports.end_part(self.at, self.key, here)}"


@dataclass(frozen=True)
class EndHost(Step[Ending]):
    """End everything on a host. Nothing of it is half done: what is left of a first attempt is ended by the second."""

    host: str
    timeout_seconds: float = END_SECONDS
    kind = "end-host"
    precondition = "our files are out of programs of others"
    postcondition = "nothing runs, and nothing remembers what ran"
    compensation = "the way back: `manor up`"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return "every program ends"

    async def observe(self, ports: Ending, here: Here) -> Holds:
        """Tell whether anything is left."""
        return Holds.pre() if await ports.is_up(self.host) else Holds.post("ended")

    async def act(self, ports: Ending, here: Here) -> Evidence:
        """End it. Raises ManorError with what would not end."""
        return await ports.end_host(self.host, here)


@dataclass(frozen=True)
class GiveBack(Step[Ending]):
    """Give an environment's addresses back, once none of its hosts needs them."""

    hosts: tuple[str, ...] = ()
    kind = "give-back"
    precondition = "every host is down"
    postcondition = "the environment has no addresses on this machine"
    compensation = "the way back: `manor up` takes addresses again"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return "addresses are given back"

    async def observe(self, ports: Ending, here: Here) -> Holds:
        """Tell whether it has any."""
        return Holds.pre() if await ports.has_place() else Holds.post("given back")

    async def act(self, ports: Ending, here: Here) -> Evidence:
        """Give them back. Raises ApplyFailed while a host is up."""
        left = [host for host in self.hosts if await ports.is_up(host)]
        if left:
            raise ApplyFailed(f"{', '.join(left)}: not down, so the addresses are kept")
        await ports.give_back()
        return "given back"


DOWN_KINDS: StepKinds[Ending] = StepKinds((EndProbes, JudgePart, EndPart, EndHost, GiveBack))


def plan_down(hosts: tuple[str, ...], parts: tuple[tuple[str, str], ...] = ()) -> list[Planned[Ending]]:
    """Return the steps: no host ends before our files are out of other people's programs, and the addresses stay until every host is down.

    `parts` are host and key of the tiers that are parts of such programs, the outermost first.
    """
    one_by_one: list[list[Step[Ending]]] = [[EndPart(*at)] for at in parts]
    waves: list[list[Step[Ending]]] = [
        [EndProbes()],
        [JudgePart(*at) for at in parts],
        *one_by_one,
        [EndHost(host) for host in hosts],
        [GiveBack(hosts)],
    ]
    return [Planned(stage, step) for stage, wave in enumerate(wave for wave in waves if wave) for step in wave]


def parts_of(site: Site) -> tuple[tuple[str, str], ...]:
    """Return host and key of the tiers that are parts of other people's programs, the outermost first."""
    found = [(tier.node.place, name, tier.node.key) for name, host in site.hosts.items() for tier in host.tiers if tier.node.theirs is not None]
    return tuple((name, key) for _, name, key in sorted(found))


def raise_unless_down(result: Result) -> None:
    """Raise Refused if nothing was ended because a program of somebody else needs our file; Paused, NotRestored unless all is done."""
    if result.operation.state is OperationState.FAILED and {step.kind for step in result.failed} == {JudgePart.kind}:
        raise Refused("\n".join(step.evidence for step in result.failed))
    result.raise_unless_done()


@dataclass
class LiveEnding:
    """An environment as it really is."""

    context: Context
    environment: str

    @cached_property
    def site(self) -> Site:
        """Its hosts. Not to be asked for once the addresses are given back: it would take new ones."""
        return self.context.site(self.environment)

    async def end_probes(self) -> int:
        """End the probes of an environment's rollouts. Raises TimedOut."""
        found = await self.context.store.read(operations.recent, self.environment, None, (), MOST_OPERATIONS)
        rollouts = [operation for operation in found if operation.service]
        for operation in rollouts:
            await LocalProber(self.context, self.environment, operation.service).end(operation.id)
        return len(rollouts)

    async def is_up(self, host: str) -> bool:
        """Tell whether the supervisor answers, or anything is remembered to be loaded."""
        wanted, runner = self.site.hosts[host], self.site.runners[host]
        return bool(await runner.digest(traces_of(wanted))) or await is_answering(wanted, runner)

    async def require_dispensable(self, host: str, key: str, here: Here) -> None:
        """Have the files of somebody else judged without ours, where anything of ours ever was."""
        tier, runner = self.site.tier(host, key), self.site.runners[host]
        if await self._fenced(host, here):
            await require_dispensable(tier, runner, self._folder(host, key, here))

    async def end_part(self, host: str, key: str, here: Here) -> str:
        """Take our file out of a program of somebody else."""
        tier, runner = self.site.tier(host, key), self.site.runners[host]
        if not await self._fenced(host, here):
            return "nothing of Manor's was ever here"
        return await withdraw(tier, runner, self._folder(host, key, here), self.context.store.clock) or "nothing of Manor's is there"

    async def _fenced(self, host: str, here: Here) -> bool:
        """Have a host refuse an executor that was succeeded; tell whether an apply has ever been there."""
        wanted, runner = self.site.hosts[host], self.site.runners[host]
        if not await has_wrapper(wanted, runner):
            return False
        await fence(wanted, runner, self.site.state_id, self.site.lease, here.token)
        return True

    def _folder(self, host: str, key: str, here: Here) -> HostPath:
        return self.site.hosts[host].layout.operation(here.operation) / "without" / key

    async def end_host(self, host: str, here: Here) -> str:
        """End every program of a host; what the supervisor could not end is ended without it."""
        wanted, runner = self.site.hosts[host], self.site.runners[host]
        if not await self._fenced(host, here):
            return "nothing was ever started here"
        await end_guards(wanted, runner)
        problem = await stop_supervisor(wanted, runner)
        await end_leftovers(wanted, runner, wanted.supervised.programs)
        if await is_answering(wanted, runner):
            raise ApplyFailed(f"{host}: {wanted.supervisor.name} still answers{f': {problem}' if problem else ''}")
        touch = Touch(effect=Effect.INCLUDE)
        await runner.change([Remove(path, touch) for path in (wanted.layout.sockets, *traces_of(wanted))])
        return f"ended, although {problem}" if problem else "ended"

    async def has_place(self) -> bool:
        """Tell whether it has a place on this machine."""
        return await self.context.store.read(places.find_environment, self.environment) is not None

    async def give_back(self) -> None:
        """Forget its place."""
        await self.context.store.write(places.give_back, self.environment)


def traces_of(host: DesiredHost) -> tuple[HostPath, ...]:
    """Return the files that say what was loaded and what is due; the supervisor's is the last."""
    own = [path(tier.node.key) for tier in host.tiers for path in (host.layout.loaded, host.layout.restart_due)]
    return (*own, host.layout.loaded(SUPERVISOR_MARK))


async def has_wrapper(host: DesiredHost, runner: Runner) -> bool:
    """Tell whether anything can ever have been started on a host."""
    return host.layout.exec in await runner.digest([host.layout.exec])


async def is_answering(host: DesiredHost, runner: Runner) -> bool:
    """Tell whether a supervisor of ours answers; there is none on a host where nothing may be started."""
    return host.is_supervised and await observe_programs(question_of(host), runner) is not None


async def stop_supervisor(host: DesiredHost, runner: Runner) -> str:
    """Have the supervisor end its programs and itself; return what went wrong, for whoever ends the rest."""
    if not await is_answering(host, runner):
        return ""
    problems = []
    for act in host.supervisor.stop(host.supervised):
        try:
            await tell_supervisor(host, runner, act)
        except (ApplyFailed, CommandFailed, Unreachable) as error:
            problems.append(str(error))
    return "; ".join(problems)


async def unfinished_down(store: Store, environment: str) -> Operation | None:
    """Return the end of an environment that was begun and not ended; None: there is none."""
    return next((one for one in await store.read(operations.unfinished, environment) if one.verb == VERB), None)
