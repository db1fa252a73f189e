"""Steps that move traffic: a slot is admitted, drained, withheld (docs/rollout.md).

Invariant: nothing is taken out of traffic before the balancers were asked again, and enough others were healthy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from manor.errors import ApplyFailed, CommandFailed, Paused, Unreachable
from manor.estate.topology import TrafficState
from manor.estate.units import counted
from manor.operations.step import Evidence, Here, Holds, Step
from manor.rollout.fleet import Fleet, SlotLetter, SlotRef
from manor.rollout.shown import POLL_SECONDS, SHOWN_SECONDS, is_shown, show_page
from manor.rollout.slots import SlotStep
from manor.rollout.views import (
    fewest_serving,
    in_flight,
    is_in_traffic,
    is_out,
    is_ready_everywhere,
    serves_anywhere,
    serves_everywhere,
    serving_everywhere,
    unfinished,
    websockets,
)

OTHERS_SECONDS = 10.0
"""So long a drain waits for enough others to be healthy before it holds and asks for a person."""
EXTENSIONS = 3
"""Under the policy `extend` a drain may last so many times its declared length."""
SLACK_SECONDS = 30.0


@dataclass(frozen=True)
class AdmitSlot(SlotStep):
    """Give the slot traffic on every balancer, read back."""

    must_serve: bool = True
    """False: put back what did not work before either; then nobody waits for it."""
    kind = "admit"
    phase = "admitting"
    precondition = "the slot is healthy, and no person took a slot of its host out of traffic"
    postcondition = "every balancer gives it traffic, and it is remembered as the one that serves"
    compensation = "the way back: new requests are withheld from it once the others can carry them"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.name} takes traffic"

    @property
    def waits_seconds(self) -> float:
        """Return how long every balancer has to show it in traffic, which none does before it passes that balancer's check."""
        return SHOWN_SECONDS

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Tell whether it serves on every balancer, and is remembered to."""
        return Holds.post() if await ports.is_remembered(self.ref) and await serves_everywhere(ports, self.ref) else Holds.pre()

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Admit it and wait until each balancer shows it. Raises ApplyFailed if one does not, Paused if a person took its host out of traffic."""
        await ports.set_phase(self.phase, here)
        await require_not_held(ports, self.ref)
        await ports.set_traffic(self.service, {self.ref.server: TrafficState.READY}, here)
        if not await is_shown(ports, here, partial(self._serves, ports)) and self.must_serve:
            why = (await ports.check(self.ref)).detail or "it answers here"
            raise ApplyFailed(f"{self.host}: {why}; {self.name} was admitted but does not serve on every balancer")
        await ports.unguard(self.ref, here)
        await ports.set_active(self.service, self.host, self.slot, here)
        return f"serves on {counted(len(ports.balancers), 'balancer')}" if self.must_serve else "as it was before"

    async def _serves(self, ports: Fleet) -> bool:
        return await (serves_everywhere(ports, self.ref) if self.must_serve else is_ready_everywhere(ports, self.ref))


async def require_not_held(ports: Fleet, ref: SlotRef) -> None:
    """Raise Paused if a person took a slot of the host out of traffic: what serves in its place would undo that."""
    for server, told in (await ports.held(ref.service)).items():
        if server in {replace(ref, slot=slot).server for slot in ("a", "b")}:
            raise Paused(f"{told}; then `manor resume {ref.service}`. Nothing on {ref.host} was let into traffic")


@dataclass(frozen=True)
class Drained:
    """How a drain went; part of the receipt."""

    seconds: float
    in_flight_at_start: int | None
    left: int | None
    """Requests that were cut; None where the balancer does not count."""
    is_counted: bool
    was_cut: bool = False
    unguarded: str = ""
    """Where no guard watched over the mark, and why."""
    websockets: int = 0
    """Open WebSockets that were left: the program closes them when it is told to end."""

    def __str__(self) -> str:
        """Return it for people, e.g. `12 requests in flight → 0`."""
        told = f"{self.in_flight_at_start} requests in flight → {self.left}{' (cut)' if self.was_cut else ''}"
        told = told if self.is_counted else "waited its whole time; this balancer does not count"
        told += f"; WebSockets left to its program to close: {self.websockets}" if self.websockets else ""
        return f"{told}; {self.unguarded}" if self.unguarded else told


@dataclass(frozen=True)
class DrainSlot(SlotStep):
    """Take the slot out of traffic on every balancer and wait until what it had is finished."""

    others_needed: int
    """Healthy servers that each balancer must have beside this one."""
    drain_seconds: float
    settle_seconds: float
    policy: str
    timeout_seconds: float
    upheld: tuple[tuple[str, SlotLetter], ...] = ()
    """Host and slot of all that must serve on every balancer before this one may go: what was admitted in its place, here and before."""
    guarded: bool = False
    """It served before the rollout: guards return it when nobody goes on."""
    behind_page: bool = False
    """The maintenance page is shown meanwhile; a guard that returned it ended the page too."""
    kind = "drain"
    phase = "draining"
    precondition = "what takes its place serves on every balancer, and enough others do"
    postcondition = "no balancer gives it traffic, and what it had is finished, or its time was up"
    compensation = "the way back: it is admitted again; a guard does so when nobody goes on"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.name} drains"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Drain it again: from the moment at which it was taken out, which nobody wrote down, the whole drain has to be waited for."""
        return Holds.pre()

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Drain it.

        Raises ApplyFailed when one of those in its place no longer serves, or under policy `abort`; Paused when too few others are healthy, or a
        person has taken it out.
        """
        await ports.set_phase(self.phase, here)
        if self.guarded:  # what comes in its place is to serve
            await require_not_held(ports, self.ref)
        before = await in_flight(ports, self.ref)
        unguarded = await self._take_out_in_time(ports, here)
        await self._require_shown(ports, here)
        began = ports.now()
        left, was_cut = await self._wait(ports, here, began)
        await ports.sleep(self.settle_seconds)
        counted = all(balancer.is_counted for balancer in ports.balancers)
        return Drained(round(ports.now() - began, 3), before, left, counted, was_cut, unguarded, await websockets(ports, self.ref))

    async def _take_out_in_time(self, ports: Fleet, here: Here) -> str:
        """Take it out; too few others are waited for a little: they may be back soon, or this one may turn out to carry nothing either."""
        limit = min(here.deadline - 1.0, ports.now() + OTHERS_SECONDS)
        while True:
            try:
                return await self._take_out(ports, here)
            except Paused:
                if ports.now() >= limit:
                    raise
            await ports.sleep(POLL_SECONDS)

    async def _take_out(self, ports: Fleet, here: Here) -> str:
        """Guard it and take it out of traffic; guard it anew if it is out already. Returns where no guard is, and why."""
        async with ports.alone():
            has_traffic = await is_in_traffic(ports, self.ref)
            if has_traffic:
                await self._require_others(ports)
            unguarded = await ports.guard(self.ref, self._instead, here) if self.guarded else ""
            if unguarded:
                here.say(unguarded)
            if has_traffic and self.behind_page:
                await show_page(ports, self.service, here, on=True)
            if has_traffic:
                await ports.set_traffic(self.service, {self.ref.server: TrafficState.DRAIN}, here)
            return unguarded

    @property
    def _instead(self) -> tuple[SlotRef, ...]:
        return tuple(SlotRef(self.service, host, slot) for host, slot in self.upheld if host == self.host)

    async def _require_others(self, ports: Fleet) -> None:
        """Look once more, right before: what carries nothing may go, what carries something only while enough others do."""
        if not await serves_anywhere(ports, self.ref):
            return
        for host, slot in self.upheld:
            if not await serves_everywhere(ports, SlotRef(self.service, host, slot)):
                why = (await ports.check(SlotRef(self.service, host, slot))).detail or "a balancer gives it no traffic"
                raise ApplyFailed(f"{host}: {why}; {self.service}/{slot} no longer serves, so {self.name} on {self.host} was not taken out")
        count, where = await fewest_serving(ports, self.service, frozenset({self.ref.server}))
        if count < self.others_needed:
            raise Paused(
                f"{where}: only {count} healthy beside {self.ref.server}, {self.others_needed} needed; "
                f"nothing was taken out. Mend the others, then `manor resume {self.service}`"
            )

    async def _require_shown(self, ports: Fleet, here: Here) -> None:
        async def is_taken_out() -> bool:
            return not await is_in_traffic(ports, self.ref)

        if not await is_shown(ports, here, is_taken_out):
            raise ApplyFailed(f"{self.host}: {self.name} was to be drained, and a balancer still gives it traffic")

    async def _wait(self, ports: Fleet, here: Here, began: float) -> tuple[int | None, bool]:
        longest = self.drain_seconds * (EXTENSIONS if self.policy == "extend" else 1)
        limit = min(began + longest, here.deadline - self.settle_seconds - 1.0)
        while True:
            left = await unfinished(ports, self.ref)
            if left == 0 or (left is None and ports.now() >= began + self.drain_seconds):
                return left, False
            if ports.now() >= limit:
                waited = ports.now() - began
                if self.policy == "abort":
                    raise ApplyFailed(f"{self.host}: {self.name} still had {left} requests in flight after {waited:.0f} s; nothing was cut")
                here.say(f"{'what was left is' if left is None else f'{left} requests are'} cut after {waited:.0f} s")
                return left, True
            await ports.sleep(POLL_SECONDS)


@dataclass(frozen=True)
class WithholdSlots(Step[Fleet]):
    """First on the way back: no new requests to what failed, if what stands beside it can carry them."""

    service: str
    slots: tuple[tuple[str, SlotLetter], ...]
    others_needed: int
    kind = "withhold"
    precondition = "enough others serve without these slots"
    postcondition = "no balancer gives them new requests; else nothing was changed"
    compensation = "the way back: the old slots are admitted, after which nobody needs these"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.service}: no new requests to {', '.join(f'{host}/{slot}' for host, slot in self.slots)}"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Withhold them again: a guard may have returned what was taken out, and who else serves has to be asked anew."""
        return Holds.pre()

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Withhold, unless too few others serve; then traffic stays until the old slots are back."""
        await ports.set_phase("rolling_back", here)
        servers = frozenset(SlotRef(self.service, host, slot).server for host, slot in self.slots)
        async with ports.alone():
            count, where = await fewest_serving(ports, self.service, servers)
            if count < self.others_needed:
                return f"not yet: {where or 'no balancer'} has only {count} others serving, {self.others_needed} needed"
            kept = await serving_everywhere(ports, self.service) - servers  # said again: a drain that was cut short may be remembered already
            changes = {**dict.fromkeys(sorted(kept), TrafficState.READY), **dict.fromkeys(sorted(servers), TrafficState.DRAIN)}
            await ports.set_traffic(self.service, changes, here)
        return f"withheld; {count} others serve"


@dataclass(frozen=True)
class KeepOut(Step[Fleet]):
    """Last on the way back: no balancer keeps a slot of what failed whose host could not be brought back; it would get traffic when the host does come back."""

    service: str
    slots: tuple[tuple[str, SlotLetter], ...]
    others_needed: int
    kind = "keep-out"
    precondition = "the hosts of these slots could not be brought back"
    postcondition = "every balancer that answers has them out, as far as enough others serve"
    compensation = "the way back: a rollout of the host, or `manor resume --only failed`"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.service}: what failed stays out of traffic"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Ask and do it again: a balancer that did not answer then may answer now, and who else serves may have changed."""
        return Holds.pre()

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Take out what serves nowhere, and what serves if enough others do. That a balancer does not answer is told, and stops nothing."""
        try:
            async with ports.alone():
                changes = await self._changes(ports, here)
                if changes:
                    await ports.set_traffic(self.service, changes, here)
        except (Unreachable, CommandFailed) as error:
            return f"can't be made sure of: {error}"
        return f"taken out: {', '.join(changes)}" if changes else "nothing of it was left in traffic"

    async def _changes(self, ports: Fleet, here: Here) -> dict[str, TrafficState]:
        refs = [SlotRef(self.service, host, slot) for host, slot in self.slots]
        left = [ref for ref in refs if not await is_out(ports, ref)]
        serving = frozenset([ref.server for ref in left if await serves_anywhere(ports, ref)])
        count, where = await fewest_serving(ports, self.service, serving)
        out = {ref.server: TrafficState.DRAIN if ref.server in serving else TrafficState.MAINT for ref in left}
        if not serving or count >= self.others_needed:
            return out
        here.say(f"{where}: {', '.join(sorted(serving))} still serves what failed: only {count} others do, {self.others_needed} needed")
        return {server: state for server, state in out.items() if server not in serving}


@dataclass(frozen=True)
class ForgetSlot(SlotStep):
    """Remember that nothing serves on a host: the way back of a first release, or of a host's first."""

    kind = "withdraw"
    phase = "rolling_back"
    precondition = "nothing on the host is to serve"
    postcondition = "nothing is remembered to serve there"
    compensation = "none needed: the next rollout remembers what it admits"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return f"{self.service}: nothing serves here; its route answers 503 with our page unless other hosts serve"

    async def observe(self, ports: Fleet, here: Here) -> Holds:
        """Tell whether nothing is remembered to serve."""
        return Holds.pre() if await ports.active(self.service, self.host) else Holds.post()

    async def act(self, ports: Fleet, here: Here) -> Evidence:
        """Remember it."""
        await ports.set_active(self.service, self.host, None, here)
        return "nothing serves"
