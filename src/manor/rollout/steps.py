"""The kinds of step of a rollout; each does one thing to one slot and can be done again (docs/rollout.md).

Invariant: every act leaves the same state whether it runs once or is repeated after a crash.
Invariant: nothing is taken out of traffic before the balancers were asked again, and enough others were healthy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from manor.errors import ApplyFailed, ManorError, Paused
from manor.estate.topology import TrafficState
from manor.integrations.proxies.base import ServerView
from manor.integrations.supervisors.base import ProgramStatus
from manor.operations.step import Evidence, Here, Holds, Step
from manor.rollout.fleet import Balancer, Fleet, SlotLetter, SlotRef

POLL_SECONDS = 0.2
EXTENSIONS = 3
"""Under the policy `extend` a drain may last so many times its declared length."""


@dataclass(frozen=True)
class SlotStep(Step[Fleet]):
    """A step that concerns one slot."""

    service: str
    host: str
    slot: SlotLetter
    release: str

    phase: ClassVar[str]

    @property
    def ref(self) -> SlotRef:
        """The slot."""
        return SlotRef(self.service, self.host, self.slot)

    @property
    def name(self) -> str:
        """The slot, for people."""
        return f"{self.service}/{self.slot}"


@dataclass(frozen=True)
class Preflight(Step[Fleet]):
    """Find out what stands in the way, before anything is touched."""

    kind = "preflight"
    service: str
    release: str
    slots: tuple[tuple[str, SlotLetter], ...]

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.service} {self.release}: can it be done"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Look again: it changes nothing."""
        return Holds.pre()

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Look. Raises ApplyFailed with everything that stands in the way."""
        await ports.set_phase("preflight", here)
        refs = tuple(SlotRef(self.service, host, slot) for host, slot in self.slots)
        problems = await ports.preflight(refs, self.release)
        if problems:
            raise ApplyFailed("; ".join(problems))
        return f"{len(refs)} slots, {len(ports.balancers)} balancers"


@dataclass(frozen=True)
class PlaceRelease(SlotStep):
    """Put the release into an idle slot."""

    kind = "place"
    phase = "placing"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.name} gets {self.release}"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Tell whether the slot holds the release."""
        found = await ports.placed(self.ref)
        return Holds.post(found) if found == self.release else Holds.pre(found)

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Place it, unless it is there already."""
        await ports.set_phase(self.phase, here)
        if await ports.placed(self.ref) != self.release:
            await ports.place(self.ref, self.release, here)
        return self.release


@dataclass(frozen=True)
class StartSlot(SlotStep):
    """Start the slot's program."""

    kind = "start"
    phase = "warming"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.name} starts"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Tell whether it runs."""
        view = await ports.program(self.ref)
        return Holds.post() if view is None or view.status is ProgramStatus.RUNNING else Holds.pre(view.status)

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
        return f"healthy here and on {self.balancers} balancer{'' if self.balancers == 1 else 's'}" if self.passes else "serves already"


@dataclass(frozen=True)
class WarmSlot(SlotStep):
    """Wait until the slot is healthy, here and as each balancer sees it, without giving it traffic."""

    passes: int
    min_healthy_seconds: float
    interval_seconds: float
    timeout_seconds: float
    kind = "warm"
    phase = "warming"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.name} must stay healthy {self.min_healthy_seconds:g} s"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Tell whether it serves already."""
        return Holds.post() if await serves_everywhere(ports, self.ref) else Holds.pre()

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Have it checked everywhere and wait. Raises ApplyFailed when it dies, restarts too often or its deadline comes."""
        await ports.set_phase(self.phase, here)
        began = ports.now()
        if await serves_everywhere(ports, self.ref):
            return Warmth(0.0, 0, len(ports.balancers))
        await ports.set_traffic(self.service, {self.ref.server: TrafficState.DRAIN}, here)
        await self._wait(ports, here)
        return Warmth(round(ports.now() - began, 3), self.passes, len(ports.balancers))

    async def _wait(self, ports: Fleet, here: Here) -> None:
        streak, since, started_at, last = 0, ports.now(), None, ""
        while True:
            view = await ports.program(self.ref)
            checked = await ports.check(self.ref)
            alive = view is None or view.status is ProgramStatus.RUNNING
            restarted = view is not None and started_at not in (None, view.started_at)
            if not (alive and checked.passed) or restarted:
                streak, since = 0, ports.now()
            else:
                streak += 1
            started_at = view.started_at if view is not None else None
            if view is not None and view.status is ProgramStatus.FAILED:
                raise ApplyFailed(f"{self.host}: {self.name} does not stay up: {await ports.last_words(self.ref)}")
            if streak >= self.passes and ports.now() - since >= self.min_healthy_seconds and await healthy_everywhere(ports, self.ref):
                return
            last = await self._tell(ports, here, checked.detail, last, since)
            await ports.sleep(self.interval_seconds)

    async def _tell(self, ports: Fleet, here: Here, detail: str, last: str, since: float) -> str:
        if ports.now() + self.interval_seconds >= here.deadline:
            words = await ports.last_words(self.ref)
            raise ApplyFailed(f"{self.host}: {self.name} was not healthy within {self.timeout_seconds:g} s: {detail}{'; it wrote: ' + words if words else ''}")
        if detail != last:
            here.say(detail or f"healthy since {ports.now() - since:.1f} s")
        return detail


@dataclass(frozen=True)
class AdmitSlot(SlotStep):
    """Give the slot traffic on every balancer, read back."""

    kind = "admit"
    phase = "admitting"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.name} takes traffic"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Tell whether it serves on every balancer."""
        return Holds.post() if await serves_everywhere(ports, self.ref) else Holds.pre()

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Admit it and wait until each balancer shows it. Raises ApplyFailed if one does not."""
        await ports.set_phase(self.phase, here)
        await ports.set_traffic(self.service, {self.ref.server: TrafficState.READY}, here)
        limit = min(here.deadline, ports.now() + 30)
        while not await serves_everywhere(ports, self.ref):
            if ports.now() >= limit:
                raise ApplyFailed(f"{self.host}: {self.name} was admitted but does not serve on every balancer")
            await ports.sleep(POLL_SECONDS)
        await ports.set_active(self.ref, self.release, here)
        return f"serves on {len(ports.balancers)}"


@dataclass(frozen=True)
class Drained:
    """How a drain went; part of the receipt."""

    seconds: float
    in_flight_at_start: int | None
    left: int | None
    """Requests that were cut; None where the balancer does not count."""
    is_counted: bool
    was_cut: bool = False

    def __str__(self) -> str:
        """Return it for people, e.g. `12 requests in flight → 0`."""
        if not self.is_counted:
            return "waited its whole time; this balancer does not count"
        return f"{self.in_flight_at_start} requests in flight → {self.left}{' (cut)' if self.was_cut else ''}"


@dataclass(frozen=True)
class DrainSlot(SlotStep):
    """Take the slot out of traffic on every balancer and wait until what it had is finished."""

    others_needed: int
    """Healthy servers that each balancer must have beside this one."""
    drain_seconds: float
    settle_seconds: float
    policy: str
    timeout_seconds: float
    kind = "drain"
    phase = "draining"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.name} drains"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Draining again is harmless, and a timed drain has to be waited for in full."""
        return Holds.pre()

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Drain it. Raises Paused when too few others are healthy, ApplyFailed under policy `abort`."""
        await ports.set_phase(self.phase, here)
        before = await self._in_flight(ports)
        if await is_in_traffic(ports, self.ref):
            await self._require_others(ports)
            await ports.set_traffic(self.service, {self.ref.server: TrafficState.DRAIN}, here)
        began = ports.now()
        left, was_cut = await self._wait(ports, here, began)
        await ports.sleep(self.settle_seconds)
        counted = all(balancer.is_counted for balancer in ports.balancers)
        return Drained(round(ports.now() - began, 3), before, left, counted, was_cut)

    async def _require_others(self, ports: Fleet) -> None:
        for balancer in ports.balancers:
            views = await ports.traffic(balancer, self.service)
            others = [view for view in views if view.name != self.ref.server and is_serving(view)]
            if len(others) < self.others_needed:
                raise Paused(
                    f"{balancer.host}: only {len(others)} healthy beside {self.ref.server}, {self.others_needed} needed; "
                    f"nothing was taken out. Mend the others, then `manor resume {self.service}`"
                )

    async def _in_flight(self, ports: Fleet) -> int | None:
        counts = [await in_flight(ports, balancer, self.ref) for balancer in ports.balancers]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    async def _wait(self, ports: Fleet, here: Here, began: float) -> tuple[int | None, bool]:
        limit = self.drain_seconds * (EXTENSIONS if self.policy == "extend" else 1)
        while True:
            left = await self._in_flight(ports)
            waited = ports.now() - began
            if left == 0 or (left is None and waited >= self.drain_seconds):
                return left, False
            if waited >= limit:
                if self.policy == "abort":
                    raise ApplyFailed(f"{self.host}: {self.name} still had {left} requests in flight after {waited:.0f} s")
                here.say(f"{left} requests are cut after {waited:.0f} s")
                return left, True
            await ports.sleep(POLL_SECONDS)


@dataclass(frozen=True)
class StopSlot(SlotStep):
    """Stop the slot's program; no balancer may use it any more."""

    kind = "stop"
    phase = "stopping"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.name} stops"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Tell whether it is gone."""
        view = await ports.program(self.ref)
        gone = view is not None and view.status is ProgramStatus.STOPPED
        return Holds.post() if gone and not await is_in_traffic(ports, self.ref) else Holds.pre()

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Stop it. Raises ManorError if a balancer still sends it traffic."""
        await ports.set_phase(self.phase, here)
        if await is_in_traffic(ports, self.ref):
            raise ManorError(f"{self.host}: {self.name} still takes traffic; it is not stopped")
        await ports.set_traffic(self.service, {self.ref.server: TrafficState.MAINT}, here)
        await ports.stop(self.ref, here)
        return "gone"


@dataclass(frozen=True)
class ServiceStep(Step[Fleet]):
    """A step that concerns the service as a whole."""

    service: str
    release: str

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Doing it again is harmless."""
        return Holds.pre()


@dataclass(frozen=True)
class StartProbe(ServiceStep):
    """Begin to ask from outside."""

    kind = "start-probe"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.service}: the probe begins"

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Start it."""
        await ports.start_probe(self.service, here)
        return "runs"


@dataclass(frozen=True)
class StopProbe(ServiceStep):
    """End the probe and judge what it saw."""

    budget: int = 0
    """How many lost requests are accepted."""
    judges: bool = True
    """False on the way back: what was lost is told, and nothing hangs on it."""
    kind = "stop-probe"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.service}: the probe ends"

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Stop it. Raises ApplyFailed if more was lost than the budget allows."""
        seen = await ports.stop_probe(self.service, here)
        here.say(f"sent {seen.sent}, lost {seen.lost}")
        if self.judges and seen.lost > self.budget:
            raise ApplyFailed(f"{self.service}: the probe lost {seen.lost} of {seen.sent} requests: {'; '.join(seen.first_losses)}")
        return seen


@dataclass(frozen=True)
class SetMaintenance(ServiceStep):
    """Show the maintenance page, or end it."""

    on: bool = True
    kind = "maintenance"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.service}: maintenance page {'on' if self.on else 'off'}"

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Switch it."""
        await ports.set_maintenance(self.service, here, on=self.on)
        return "on" if self.on else "off"


@dataclass(frozen=True)
class Bake(ServiceStep):
    """Watch the finished rollout for its bake time: every instance must stay healthy."""

    seconds: float = 0.0
    hosts: tuple[tuple[str, SlotLetter], ...] = ()
    timeout_seconds: float = 60.0
    kind = "bake"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.service} {self.release}: is watched for {self.seconds:g} s"

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Watch. Raises ApplyFailed when an instance is unhealthy for two checks in a row."""
        await ports.set_phase("deployed", here)
        end, failures = ports.now() + self.seconds, dict.fromkeys(self.hosts, 0)
        while True:
            for host, slot in self.hosts:
                checked = await ports.check(SlotRef(self.service, host, slot))
                failures[host, slot] = 0 if checked.passed else failures[host, slot] + 1
                if failures[host, slot] >= 2:
                    raise ApplyFailed(f"{host}: {self.service}/{slot} became unhealthy: {checked.detail}")
            if ports.now() >= end and not any(failures.values()):
                return f"{len(self.hosts)} healthy"
            await ports.sleep(min(1.0, max(0.1, end - ports.now())))


@dataclass(frozen=True)
class Certify(ServiceStep):
    """Make the release the one that a rollback returns to."""

    kind = "certify"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.service} {self.release} is certified"

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Certify it."""
        await ports.certify(self.service, self.release, here)
        await ports.set_phase("certified", here)
        return self.release


KINDS: tuple[type[Step[Fleet]], ...] = (
    Preflight,
    PlaceRelease,
    StartSlot,
    WarmSlot,
    AdmitSlot,
    DrainSlot,
    StopSlot,
    StartProbe,
    StopProbe,
    SetMaintenance,
    Bake,
    Certify,
)


def is_serving(view: ServerView) -> bool:
    """Tell whether a balancer gives a server traffic."""
    return view.traffic is TrafficState.READY and view.is_healthy is True


def find(views: tuple[ServerView, ...], name: str) -> ServerView:
    """Return a server's view. Raises ManorError if the balancer does not know it."""
    for view in views:
        if view.name == name:
            return view
    raise ManorError(f"{name} is not among the balancer's servers ({', '.join(view.name for view in views)}); run `manor apply`")


async def all_views(ports: Fleet, ref: SlotRef) -> Mapping[Balancer, ServerView]:
    """Return how each balancer sees a slot."""
    return {balancer: find(await ports.traffic(balancer, ref.service), ref.server) for balancer in ports.balancers}


async def serves_everywhere(ports: Fleet, ref: SlotRef) -> bool:
    """Tell whether every balancer gives the slot traffic."""
    return all(is_serving(view) for view in (await all_views(ports, ref)).values())


async def healthy_everywhere(ports: Fleet, ref: SlotRef) -> bool:
    """Tell whether every balancer's own checks of the slot pass."""
    return all(view.is_healthy is True for view in (await all_views(ports, ref)).values())


async def is_in_traffic(ports: Fleet, ref: SlotRef) -> bool:
    """Tell whether any balancer may send the slot new requests."""
    return any(view.traffic is TrafficState.READY for view in (await all_views(ports, ref)).values())


async def in_flight(ports: Fleet, balancer: Balancer, ref: SlotRef) -> int | None:
    """Return how many requests a balancer has in flight to a slot; None where it does not count."""
    view = find(await ports.traffic(balancer, ref.service), ref.server)
    return view.in_flight if balancer.is_counted else None
