"""Steps that concern the service as a whole: preflight, probe, maintenance page, bake, certify, burn (docs/rollout.md).

Invariant: each can be done again after a crash with the same end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from manor.errors import ApplyFailed, CommandFailed, FencedOff, ManorError, NotOurs, Unreachable
from manor.estate.units import counted
from manor.operations.step import Evidence, Here, Holds, Step
from manor.rollout.fleet import Fleet, ProbeSummary, SlotLetter, SlotRef
from manor.rollout.shown import show_page
from manor.state.words import Standing

BAKE_POLL_SECONDS = 1.0
DOUBT_POLL_SECONDS = 1.0
BAKE_SLACK_SECONDS = 300.0
"""So much longer than its time a bake may take, as one does whose last checks fail now and then."""


@dataclass(frozen=True)
class ServiceStep(Step[Fleet]):
    """A step that concerns the service as a whole."""

    service: str
    release: str

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Do it again: what only looks or says something has left nothing to find. A kind that leaves something tells what holds."""
        return Holds.pre()


@dataclass(frozen=True)
class Preflight(ServiceStep):
    """Find out what stands in the way, before anything is touched."""

    slots: tuple[tuple[str, SlotLetter], ...]
    is_strict: bool = True
    """False for a rollback: what somebody changed by hand does not keep anybody from going back."""
    kind = "preflight"
    precondition = "nothing of this rollout was done"
    postcondition = "nothing stands in its way; a supervisor that had died runs again"
    compensation = "none needed: it only looks, and revives what is to run anyway"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.service} {self.release}: can it be done"

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Look. Raises FencedOff if somebody has taken over, ApplyFailed with everything that stands in the way."""
        await ports.set_phase("preflight", here)
        refs = tuple(SlotRef(self.service, host, slot) for host, slot in self.slots)
        await ports.fence(refs, here)  # a supervisor that died is started again
        problems = list(await ports.preflight(refs, self.release))
        problems += await ports.undeclared(refs) if self.is_strict and not problems else ()
        if problems:
            raise ApplyFailed("; ".join(problems))
        return f"{counted(len(refs), 'slot')}, {counted(len(ports.balancers), 'balancer')}"


@dataclass(frozen=True)
class StartProbe(ServiceStep):
    """Begin to ask from outside."""

    baseline_seconds: float = 0.0
    """So long it asks before anything is touched."""
    longest_baseline_seconds: float = 0.0
    """So long at the most while it is doubtful whether the service is failing already."""
    kind = "start-probe"
    precondition = "no probe of this operation asks"
    postcondition = "it asks from outside, and has asked for its baseline"
    compensation = "the way back: the probe is stopped, and ends by itself when its time is up"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.service}: the probe begins"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Start it again: one that asks already is found under the operation's name, and the baseline has to be seen in full."""
        return Holds.pre()

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Start it. Raises ApplyFailed, TimedOut if it does not begin to ask."""
        await ports.start_probe(self.service, here)
        if self.baseline_seconds:
            until = ports.now() + self.longest_baseline_seconds
            await ports.sleep(self.baseline_seconds)
            while ports.now() < until and (await ports.probed(self.service, here)).is_doubtful:
                await ports.sleep(DOUBT_POLL_SECONDS)
        return "asks"


@dataclass(frozen=True)
class StopProbe(ServiceStep):
    """End the probe and judge what it saw."""

    budget: int = 0
    """How many lost requests are accepted."""
    judges: bool = True
    """False on the way back: what was lost is told, and nothing hangs on it."""
    longest_outage: float | None = None
    """For a service that is interrupted: it may be away so long, instead of the budget."""
    is_return: bool = False
    """To a certified release: what the one that is left loses turns nothing round."""
    alone_seconds: float = 0.0
    """So long it asks on where more was lost than accepted, until enough was asked since the new release serves alone."""
    kind = "stop-probe"
    precondition = "the probe of this operation was started"
    postcondition = "it has ended, and what it saw is judged"
    compensation = "none needed: what it saw is kept"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.service}: the probe ends"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Stop it again: one that has ended gives the same summary, which has to be judged."""
        return Holds.pre()

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Stop it. Raises ApplyFailed if more was lost than allowed, Unreachable if that can't be told: no fault of the release."""
        if self.judges and self.alone_seconds and await self._has_lost(ports, here):
            await ports.sleep(self.alone_seconds)
        seen = await ports.stop_probe(self.service, here)
        if self.judges:
            self._judge(seen, here)
        return seen

    async def _has_lost(self, ports: Fleet, here: Here) -> bool:
        """Tell whether more was lost so far than is accepted; no, where that can't be told: then it need not ask on."""
        try:
            return (await ports.probed(self.service, here)).ended.lost > self.budget
        except FencedOff:
            raise
        except ManorError:
            return False

    def _judge(self, seen: ProbeSummary, here: Here) -> None:
        losses = replace(seen.losses, is_return=self.is_return)
        verdict = losses.verdict(self.budget) if self.longest_outage is None else "pass"
        if verdict == "fail":
            before = f" ({seen.lost_before} of them before anything was touched)" if seen.lost_before else ""
            raise ApplyFailed(f"{self.service}: the probe lost {seen.lost} of {seen.sent} requests{before}: {'; '.join(seen.first_losses)}")
        if not seen.is_whole:
            told = f"not measured to its end: {seen.gap}; {seen.sent} requests were seen; what was lost beside them nobody knows"
            if not self.is_return:
                raise Unreachable(f"{self.service}: {told}, so nothing is certified")
            here.say(f"{told}; what it returns to was certified before")
        if verdict == "inconclusive":
            raise Unreachable(f"{self.service}: the probe {losses}; {losses.why}: that is neither held against the release nor certified")
        if verdict == "not judged":
            here.say(f"{losses}; not judged: {losses.why}")
        if self.longest_outage is not None and seen.outage_seconds > self.longest_outage:
            raise ApplyFailed(f"{self.service}: was away for {seen.outage_seconds:.1f} s, longest_outage is {self.longest_outage:g} s")


@dataclass(frozen=True)
class SetMaintenance(ServiceStep):
    """Show the maintenance page, or end it."""

    on: bool = True
    kind = "maintenance"
    precondition = "every balancer can be told"
    postcondition = "every balancer shows the maintenance page, or none does, as was asked"
    compensation = "the way back: the page is switched the other way, and off at the end of every plan"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.service}: maintenance page {'on' if self.on else 'off'}"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Tell whether every balancer shows it as it is to be. Without a route nobody could see it: then it is switched again."""
        is_so = not await ports.page_differs(self.service, on=self.on) and await ports.page_differs(self.service, on=not self.on)
        return Holds.post("on" if self.on else "off") if is_so else Holds.pre()

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Switch it, and read it back. Raises ApplyFailed if a balancer does not show it."""
        await show_page(ports, self.service, here, on=self.on)
        return "on" if self.on else "off"


@dataclass(frozen=True)
class Bake(ServiceStep):
    """Watch the finished rollout for its bake time, without a gap: every instance must stay healthy."""

    seconds: float = 0.0
    hosts: tuple[tuple[str, SlotLetter], ...] = ()
    timeout_seconds: float = BAKE_SLACK_SECONDS
    kind = "bake"
    begins_anew = True
    precondition = "every instance serves the release"
    postcondition = "each was healthy for the whole time, watched without a gap"
    compensation = "none needed: it only watches"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.service} {self.release}: {f'is watched for {self.seconds:g} s' if self.seconds else 'health passes only'}"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Watch again from the beginning: what nobody watched was not watched."""
        return Holds.pre()

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Watch. Raises ApplyFailed when an instance is unhealthy for two checks in a row, Unreachable if the probe that has ended can't be begun again."""
        await ports.set_phase("observing", here)
        if here.attempt > 1:
            await self._have_it_probed(ports, here)
        end, failures = ports.now() + self.seconds, dict.fromkeys(self.hosts, 0)
        while True:
            for host, slot in self.hosts:
                checked = await ports.check(SlotRef(self.service, host, slot))
                failures[host, slot] = 0 if checked.passed else failures[host, slot] + 1
                if failures[host, slot] >= 2:
                    raise ApplyFailed(f"{host}: {checked.detail}; {self.service}/{slot} became unhealthy while it was watched")
            if ports.now() >= end and not any(failures.values()):
                await ports.set_phase("deployed", here)
                return f"{len(self.hosts)} healthy"
            await ports.sleep(min(BAKE_POLL_SECONDS, max(0.1, end - ports.now())))

    async def _have_it_probed(self, ports: Fleet, here: Here) -> None:
        """Have the probe ask: it ends with its machine, and when it is late enough. That it can't is no fault of the release."""
        try:
            await ports.start_probe(self.service, here)
        except ApplyFailed as error:
            raise Unreachable(f"{self.service}: what is to be watched can't be probed: {error}") from error


@dataclass(frozen=True)
class Certify(ServiceStep):
    """Make the release the one that a rollback returns to."""

    kind = "certify"
    precondition = "every instance serves the release, and its bake and the probe's verdict are good"
    postcondition = "a rollback returns to this release, and the phase is certified"
    compensation = "none needed: it is one transaction, so done or not; a later release takes its place"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.service} {self.release} is certified"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Tell whether this operation has certified it."""
        return Holds.post(self.release) if await ports.standing(self.service, self.release, here) == Standing.CERTIFIED else Holds.pre()

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Certify it."""
        await remind(ports, self.service, here)
        await ports.certify(self.service, self.release, here)
        return self.release


@dataclass(frozen=True)
class BurnRelease(ServiceStep):
    """Remember that the release failed here, so that nobody ships it again without saying why."""

    why: str = ""
    kind = "burn"
    precondition = "the release failed here, and is not certified"
    postcondition = "it is marked as failed here, unless it is certified"
    compensation = "none needed: it is one transaction, so done or not; `--again` ships it all the same"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.service} {self.release} is marked as failed here"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Tell whether this operation has marked it."""
        return Holds.post(self.why) if await ports.standing(self.service, self.release, here) == Standing.BURNED else Holds.pre()

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Mark it."""
        await ports.burn(self.service, self.release, self.why, here)
        return self.why


@dataclass(frozen=True)
class SpareRelease(ServiceStep):
    """Note why a release that could not be rolled out is not marked as failed."""

    why: str = ""
    kind = "spare"
    precondition = "the rollout failed, and not by its release"
    postcondition = "why is told, and the release is not marked"
    compensation = "none needed: nothing is changed"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.service} {self.release} is not marked as failed"

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Note it."""
        here.say(self.why)
        return self.why


@dataclass(frozen=True)
class Conclude(ServiceStep):
    """End the way back: the last word of the phase, and for the operator what serves now."""

    serves: str = ""
    places: tuple[tuple[str, SlotLetter], ...] = ()
    """Host and slot of all that serves now."""
    kind = "conclude"
    precondition = "what served before serves again"
    postcondition = "the phase is rolled_back, and what serves is told"
    compensation = "none needed: nothing is changed but the word"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return (
            f"{self.service}: {self.serves} serves as before"
            if self.serves
            else f"{self.service}: nothing was certified before; the route answers 503 with our page"
        )

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Note it, and that what is back does not pass its check where that is so: it may have failed before."""
        await ports.set_phase("rolled_back", here)
        await remind(ports, self.service, here)
        unwell = [f"{host}: {checked.detail}" for host, slot in self.places if not (checked := await ports.check(SlotRef(self.service, host, slot))).passed]
        return f"{self.service}: {self.serves} is back and does not pass its check ({'; '.join(unwell)})" if unwell else self.text


async def remind(ports: Fleet, service: str, here: Here) -> None:
    """Say what a person took out of traffic; that a balancer can't be asked is said too, and stops nothing."""
    try:
        told = tuple((await ports.held(service)).values())
    except (Unreachable, CommandFailed, NotOurs) as error:
        told = (f"{service}: what a person may have taken out of traffic can't be asked: {error}",)
    for each in told:
        here.say(each)
