"""Steps on one slot's program: placed, started, warmed (docs/rollout.md).

Invariant: every act leaves the same state whether it runs once or is repeated after a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from manor.errors import ApplyFailed, ManorError
from manor.estate.topology import TrafficState
from manor.estate.units import counted
from manor.integrations.supervisors.base import ProgramStatus, ProgramView
from manor.operations.step import Evidence, Here, Holds, Step
from manor.rollout.fleet import Checked, Fleet, SlotLetter, SlotRef
from manor.rollout.views import has_process, healthy_everywhere, is_in_traffic, serves_everywhere

LOOK_SECONDS = 10.0
"""So long a last look at a slot may take on a busy machine; what waits is given it beyond its deadline, to tell what it saw."""


@dataclass(frozen=True)
class SlotStep(Step[Fleet]):
    """A step that concerns one slot."""

    service: str
    host: str
    slot: SlotLetter
    release: str

    phase: ClassVar[str]
    is_before_program: ClassVar[bool] = False
    """Before it is done, the release runs nowhere in its slot."""

    @property
    def ref(self) -> SlotRef:
        """The slot."""
        return SlotRef(self.service, self.host, self.slot)

    @property
    def name(self) -> str:
        """The slot, for people."""
        return f"{self.service}/{self.slot}"

    @property
    def waits_seconds(self) -> float:
        """So long it waits for the slot's program before it fails; 0: it fails for something else."""
        return 0.0


@dataclass(frozen=True)
class PlaceRelease(SlotStep):
    """Put the release into an idle slot."""

    kind = "place"
    phase = "placing"
    is_before_program = True
    precondition = "no program runs in the slot, which holds what is remembered of it or nothing"
    postcondition = "the slot holds the release, whole, with environment and start script, and that is remembered"
    compensation = "the slot is emptied: link, environment and start script go"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.name} gets {self.release}"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Tell whether the slot holds the release, or something half placed or of another's."""
        found = await ports.placed(self.ref)
        if found == self.release:
            return Holds.post(found)
        odd = await ports.oddity(self.ref, self.release)
        return Holds.neither(odd) if odd else Holds.pre(found)

    async def compensate(self, ports: Fleet, here: Here) -> str:
        """Empty the slot. Raises ManorError if a program runs in it."""
        await ports.empty(self.ref, here)
        return f"{self.name} is empty again"

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Place it, unless it is there already. Raises ManorError if a program runs in the slot."""
        await ports.set_phase(self.phase, here)
        if await ports.placed(self.ref) == self.release:
            return self.release
        view = await ports.program(self.ref)
        if view is not None and has_process(view):
            raise ManorError(f"{self.host}: {self.name} is {view.status}, not stopped; nothing was placed")
        await ports.place(self.ref, self.release, here)
        return self.release


@dataclass(frozen=True)
class StartSlot(SlotStep):
    """Start the slot's program."""

    kind = "start"
    phase = "warming"
    is_before_program = True
    precondition = "the slot holds its release"
    postcondition = "its program runs, and will after a restart of the host"
    compensation = "the way back: the slot is drained and its program stopped"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.name} starts"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Tell whether it runs, and will after a restart of its host."""
        view = await ports.program(self.ref)
        runs = view is None or view.status is ProgramStatus.RUNNING
        return Holds.post() if runs and await ports.is_wanted(self.ref) else Holds.pre(view.status if view else "")

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Start it."""
        await ports.set_phase(self.phase, here)
        await ports.start(self.ref, here)
        return "started"


@dataclass(frozen=True)
class Warmth:
    """How a slot became healthy."""

    seconds: float
    passes: int
    balancers: int

    def __str__(self) -> str:
        """Return it for people."""
        return f"healthy here and on {counted(self.balancers, 'balancer')}" if self.passes else "serves already"


@dataclass
class Streak:
    """Passes in a row by one and the same process."""

    passes: int = 0
    since: float = 0.0
    process: float | None = None

    def add(self, view: ProgramView | None, checked: Checked, now: float) -> None:
        """Take one look in: a failed check, a program that does not run or another process of it begins the row anew."""
        process = view.started_at if view is not None else None
        is_same = self.process in (None, process)
        alive = view is None or view.status is ProgramStatus.RUNNING
        self.process = process
        if not (alive and checked.passed):
            self.passes = 0
        elif is_same and self.passes:
            self.passes += 1
        else:
            self.passes, self.since = 1, now

    def lasts(self, passes: int, seconds: float, now: float) -> bool:
        """Tell whether it is long enough."""
        return self.passes >= passes and now - self.since >= seconds


@dataclass(frozen=True)
class WarmSlot(SlotStep):
    """Wait until the slot is healthy, here and as each balancer sees it, without giving it traffic."""

    passes: int
    min_healthy_seconds: float
    interval_seconds: float
    timeout_seconds: float
    progress_seconds: float = 0.0
    """How long after the last progress of the whole operation this may take; 0: as long as its own deadline."""
    kind = "warm"
    phase = "warming"
    precondition = "the slot's program was started"
    postcondition = "it is healthy, here and on every balancer, and was for long enough; it has no traffic that it had not before"
    compensation = "the way back: the slot is drained and its program stopped"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.name} {f'must stay healthy {self.min_healthy_seconds:g} s' if self.min_healthy_seconds else 'must be healthy; health passes only'}"

    @property
    def waits_seconds(self) -> float:
        """Return how long it waits: a last look is taken after it."""
        return self.timeout_seconds - LOOK_SECONDS

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Tell whether it serves already; else its passes are counted anew: what nobody saw in a row was not seen."""
        return Holds.post() if await serves_everywhere(ports, self.ref) else Holds.pre()

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Have it checked everywhere and wait. Raises ApplyFailed when it dies, restarts too often or its deadline comes."""
        await ports.set_phase(self.phase, here)
        began = ports.now()
        if await serves_everywhere(ports, self.ref):
            return Warmth(0.0, 0, len(ports.balancers))
        if not await is_in_traffic(ports, self.ref):  # one that has traffic somewhere keeps it: it may be all that serves
            await ports.set_traffic(self.service, {self.ref.server: TrafficState.DRAIN}, here)
        await self._wait(ports, here, await self._limit(ports, here))
        return Warmth(round(ports.now() - began, 3), self.passes, len(ports.balancers))

    async def _limit(self, ports: Fleet, here: Here) -> float:
        """Return when it is too late: a little before the engine would end it, so that the reason can be told."""
        own = here.deadline - LOOK_SECONDS
        return min(own, await ports.progressed_at(here) + self.progress_seconds) if self.progress_seconds else own

    async def _wait(self, ports: Fleet, here: Here, limit: float) -> None:
        streak, told = Streak(), ""
        while True:
            view, checked = await ports.program(self.ref), await ports.check(self.ref)
            streak.add(view, checked, ports.now())
            if view is not None and view.status is ProgramStatus.FAILED:
                raise ApplyFailed(f"{self.host}: {self.name} does not stay up: {await ports.last_words(self.ref) or view.detail}")
            if streak.lasts(self.passes, self.min_healthy_seconds, ports.now()) and await healthy_everywhere(ports, self.ref):
                return
            if ports.now() >= limit:
                raise await self._too_late(ports, here, checked)
            word = checked.detail or "answers as it should; not yet for long enough, or not yet for every balancer"
            if word != told:
                here.say(word)
            told = word
            await ports.sleep(self.interval_seconds)

    async def _too_late(self, ports: Fleet, here: Here, checked: Checked) -> ApplyFailed:
        words = await ports.last_words(self.ref)
        if words:
            here.say(f"it wrote: {words}")
        why = checked.detail or "it answers, but did not stay healthy on every balancer for long enough"
        return ApplyFailed(f"{self.host}: {why}; {self.name} was not healthy in time ({self.waits_seconds:g} s)")
