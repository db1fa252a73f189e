"""Plans the way back of a rollout that failed, from what the journal says was begun (docs/rollout.md, the way back).

Invariant: pure. Nothing is done on a host on which nothing was begun, and nothing is taken out before what it had is back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from manor.operations.step import Planned, Step
from manor.rollout.fleet import Fleet, SlotLetter
from manor.rollout.framing import BurnRelease, Conclude, SetMaintenance, SpareRelease, StartProbe, StopProbe
from manor.rollout.moving import AdmitSlot, DrainSlot, ForgetSlot, KeepOut, WithholdSlots
from manor.rollout.plan import InstanceNow, RolloutOrder, Wave, drain, fill, in_order, others_in_turn, returning, rolling_batch, staged, warm
from manor.rollout.slots import PlaceRelease, SlotStep, StartSlot, WarmSlot
from manor.rollout.stopping import StopSlot


@dataclass(frozen=True)
class Failure:
    """What turned the rollout round."""

    why: str
    is_of_release: bool
    """The release itself failed, not what it was put on."""
    spared: str = ""
    """Why it is not blamed though it looked like it."""


class Begun:
    """Which kinds of step were begun where."""

    def __init__(self, steps: Iterable[Step[Fleet]]) -> None:
        """Sort the steps that have an intent."""
        self.steps = tuple(steps)

    def any(self, *kinds: type[Step[Fleet]]) -> bool:
        """Tell whether a step of one of these kinds was begun at all."""
        return any(isinstance(step, kinds) for step in self.steps)

    def at(self, host: str, slot: SlotLetter | None, *kinds: type[SlotStep]) -> bool:
        """Tell whether a step of one of these kinds was begun in a slot."""
        return any(isinstance(step, kinds) and (step.host, step.slot) == (host, slot) for step in self.steps if isinstance(step, SlotStep))

    def touched(self, instances: Iterable[InstanceNow]) -> list[InstanceNow]:
        """Return the instances on whose hosts anything was begun."""
        hosts = {step.host for step in self.steps if isinstance(step, SlotStep)}
        return [now for now in in_order(instances) if now.host in hosts]


def plan_return(order: RolloutOrder, begun: Sequence[Step[Fleet]], failure: Failure) -> list[Planned[Fleet]]:
    """Return the way back: every touched host to the certified release (or what it served before there was one), then what frames it."""
    done = Begun(begun)
    strategies = {"rolling": rolling_back, "in_turn": in_turn_back, "interrupt": interrupt_back}
    waves = strategies[order.rules.strategy](order, done)
    probe: Wave = [StopProbe(order.service, order.release, judges=False)] if done.any(StartProbe) else []
    burn: Wave = [BurnRelease(order.service, order.release, failure.why)] if failure.is_of_release else []
    spare: Wave = [SpareRelease(order.service, order.release, failure.spared)] if failure.spared else []
    return staged([*waves, probe, burn, spare, [Conclude(order.service, order.release, serves_after(order))]])


def serves_after(order: RolloutOrder) -> str:
    """Return the release that serves when the way back is done; empty: none."""
    served = [target(order, now) for now in order.instances if now.active is not None]
    return served[0] if served else ""


def target(order: RolloutOrder, now: InstanceNow) -> str:
    """Return what an instance is returned to: the certified release; what it had, where that is what just failed or there is none."""
    return now.release if order.certified in ("", order.release) else order.certified


def rolling_back(order: RolloutOrder, done: Begun) -> list[Wave]:
    """Withhold new requests from the new slots where others can carry them; then old slots up, all together; then the new ones out."""
    touched = done.touched(order.instances)
    admitted = [now for now in touched if done.at(now.host, now.idle, AdmitSlot)]
    out = [now for now in touched if done.at(now.host, now.idle, PlaceRelease, StartSlot, WarmSlot, AdmitSlot)]
    return [
        *withhold(order, [(now.host, now.idle) for now in admitted]),
        *old_slots_up(order, touched, done),
        [drain_new(order, now) for now in admitted],
        [StopSlot(order.service, now.host, now.idle, order.release, idle_seconds=order.idle_seconds) for now in out],
        [ForgetSlot(order.service, now.host, now.idle, order.release) for now in admitted if now.active is None],
        [KeepOut(order.service, tuple((now.host, now.idle) for now in out), order.others_needed)] if out else [],
        *(wave for now in touched for wave in to_certified(order, now)),
    ]


def withhold(order: RolloutOrder, slots: Sequence[tuple[str, SlotLetter]]) -> list[Wave]:
    """Return the wave that stops new requests to what failed."""
    return [[WithholdSlots(order.service, tuple(slots), order.others_needed)]] if slots else []


def old_slots_up(order: RolloutOrder, touched: Sequence[InstanceNow], done: Begun) -> list[Wave]:
    """Return the waves that bring back the old slots: started and warmed where they were taken out, in traffic and remembered everywhere."""
    known = [now for now in touched if now.active is not None]
    down = [now for now in known if done.at(now.host, now.active, DrainSlot, StopSlot)]
    moved = [now for now in known if now in down or done.at(now.host, now.idle, AdmitSlot)]
    return [
        [StartSlot(order.service, now.host, now.active, now.release) for now in down if now.active],
        [warm(returning(order, now.release), now.host, now.active, now.release) for now in down if now.active and now.is_healthy],
        [AdmitSlot(order.service, now.host, now.active, now.release, must_serve=now.is_healthy) for now in moved if now.active],
    ]


def drain_new(order: RolloutOrder, now: InstanceNow) -> DrainSlot:
    """Return the step that empties a new slot, while the old one beside it serves."""
    beside: tuple[tuple[str, SlotLetter], ...] = ((now.host, now.active),) if now.active and now.is_healthy else ()
    return drain(returning(order, now.release), now.host, now.idle, order.release, others=len(beside), upheld=beside)


def to_certified(order: RolloutOrder, now: InstanceNow) -> list[Wave]:
    """Return the waves from what an instance had to the certified release, where these differ: an ordinary batch of its own."""
    wanted = target(order, now)
    return [] if now.active is None or wanted == now.release else rolling_batch(returning(order, wanted), [now], ((now.host, now.idle),))


def in_turn_back(order: RolloutOrder, done: Begun) -> list[Wave]:
    """Bring the certified release into the only slot again, host by host, the last one first: it may carry nothing, and is needed before another goes."""
    return [wave for now in reversed(done.touched(order.instances)) for wave in back_in_place(order, now, done)]


def back_in_place(order: RolloutOrder, now: InstanceNow, done: Begun) -> list[Wave]:
    """Return one instance to what it is to serve, or to nothing."""
    slot: tuple[str, SlotLetter, str] = (now.host, "a", order.release)
    if now.active is not None and not done.at(now.host, "a", StopSlot, PlaceRelease, StartSlot, WarmSlot, AdmitSlot):
        return [[AdmitSlot(order.service, now.host, "a", now.release, must_serve=now.is_healthy)]]
    was_admitted = done.at(now.host, "a", AdmitSlot)
    first = drain(order, *slot, others=others_in_turn(order))
    out: list[Wave] = [[first] if was_admitted else [], [StopSlot(order.service, *slot, drain=first, idle_seconds=order.idle_seconds)]]
    if now.active is None:
        return [*out, [ForgetSlot(order.service, *slot)]]
    wanted = target(order, now)
    return [*out, *fill(returning(order, wanted), now.host, "a", wanted)]


def interrupt_back(order: RolloutOrder, done: Begun) -> list[Wave]:
    """Go back behind the maintenance page, then take the page away."""
    if not done.any(SetMaintenance):
        return []
    inner = in_turn_back(order, done)
    page: Wave = [SetMaintenance(order.service, order.release, on=True)] if inner else []
    return [page, *inner, [SetMaintenance(order.service, order.release, on=False)]]
