"""Plans a rollout: which slots, in which batches, in which order; and the way back (docs/rollout.md).

Invariant: pure. The way forward is fixed when the rollout is planned; the way back is planned from what the journal says was touched.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from manor.estate.model import Health, RolloutRules
from manor.operations.step import Planned, Step
from manor.rollout.fleet import Fleet, SlotLetter
from manor.rollout.steps import (
    EXTENSIONS,
    AdmitSlot,
    Bake,
    Certify,
    DrainSlot,
    PlaceRelease,
    Preflight,
    SetMaintenance,
    SlotStep,
    StartProbe,
    StartSlot,
    StopProbe,
    StopSlot,
    WarmSlot,
)

FAST_CHECK_SECONDS = 0.5


@dataclass(frozen=True)
class InstanceNow:
    """An instance as it is before the rollout."""

    host: str
    active: SlotLetter | None
    """The slot that serves; None: nothing was ever released here."""
    release: str = ""
    """What the active slot holds."""
    is_healthy: bool = True

    @property
    def idle(self) -> SlotLetter:
        """The slot for the next release."""
        return "b" if self.active == "a" else "a"


@dataclass(frozen=True)
class RolloutOrder:
    """What is wanted, and what it starts from."""

    service: str
    release: str
    instances: tuple[InstanceNow, ...]
    rules: RolloutRules
    health: Health
    drain_seconds: float
    bake_seconds: float
    certified: str = ""
    """The release to return to; empty: there is none yet."""
    loss_budget: int = 0
    is_return: bool = False
    """A return to a certified release: no waiting beyond the passes."""

    @property
    def min_healthy_seconds(self) -> float:
        """How long a new instance must stay healthy."""
        return 0.0 if self.is_return else self.rules.min_healthy_time

    @property
    def others_needed(self) -> int:
        """Healthy servers that must be there whenever one is taken out."""
        return math.ceil(len(self.instances) * self.rules.min_healthy)


Wave = list[Step[Fleet]]


def plan_rollout(order: RolloutOrder) -> list[Planned[Fleet]]:
    """Return the steps forward; steps of one stage run together."""
    strategies = {"rolling": rolling_waves, "in_turn": in_turn_waves, "interrupt": interrupt_waves}
    hosts = tuple((now.host, slot_for(order, now)) for now in order.instances)
    probe: Wave = [StartProbe(order.service, order.release)]
    served_before = any(now.active is not None for now in order.instances)
    before: list[Wave] = [[Preflight(order.service, order.release, hosts)], probe if served_before else []]
    after: list[Wave] = [
        [] if served_before else probe,
        [Bake(order.service, order.release, order.bake_seconds, hosts, timeout_seconds=order.bake_seconds + 60)],
        [StopProbe(order.service, order.release, order.loss_budget, judges=order.rules.strategy != "interrupt")],
        [Certify(order.service, order.release)],
    ]
    return staged([*before, *strategies[order.rules.strategy](order), *after])


def slot_for(order: RolloutOrder, now: InstanceNow) -> SlotLetter:
    """Return the slot that gets the release on an instance."""
    return now.idle if order.rules.strategy == "rolling" else "a"


def staged(waves: Iterable[Wave]) -> list[Planned[Fleet]]:
    """Return the steps of waves that follow one another."""
    filled = [wave for wave in waves if wave]
    return [Planned(stage, step) for stage, wave in enumerate(filled) for step in wave]


def batches(order: RolloutOrder) -> list[tuple[InstanceNow, ...]]:
    """Return the instances in the order they are moved: unhealthy ones first, then one alone, then as many as may be missing at once."""
    ordered = sorted(order.instances, key=lambda now: (now.is_healthy, now.host))
    size = max(1, len(ordered) - order.others_needed)
    rest = ordered[1:]
    return [tuple(ordered[:1]), *(tuple(rest[at : at + size]) for at in range(0, len(rest), size))]


def rolling_waves(order: RolloutOrder) -> list[Wave]:
    """Two slots: the new one comes up beside the old one, which is then drained and stopped."""
    return [wave for batch in batches(order) for wave in rolling_batch(order, batch)]


def rolling_batch(order: RolloutOrder, batch: tuple[InstanceNow, ...]) -> list[Wave]:
    """Return the waves of one batch."""
    new = [(now.host, now.idle, order.release) for now in batch]
    old = [(now.host, now.active, now.release) for now in batch if now.active is not None]
    return [
        [PlaceRelease(order.service, *slot) for slot in new],
        [StartSlot(order.service, *slot) for slot in new],
        [warm(order, *slot) for slot in new],
        [AdmitSlot(order.service, *slot) for slot in new],
        [drain(order, *slot, others=order.others_needed) for slot in old],
        [StopSlot(order.service, *slot) for slot in old],
    ]


def in_turn_waves(order: RolloutOrder) -> list[Wave]:
    """One slot: drained, stopped, replaced, started and admitted, host by host."""
    return [
        wave for now in sorted(order.instances, key=lambda now: (now.is_healthy, now.host)) for wave in replace_in_place(order, now, len(order.instances) > 1)
    ]


def replace_in_place(order: RolloutOrder, now: InstanceNow, needs_others: bool) -> list[Wave]:
    """Return the waves that put the release into the only slot of an instance."""
    slot: tuple[str, SlotLetter, str] = (now.host, "a", order.release)
    others = min(order.others_needed, len(order.instances) - 1) if needs_others else 0
    out: list[Wave] = (
        [] if now.active is None else [[drain(order, now.host, "a", now.release, others=others)], [StopSlot(order.service, now.host, "a", now.release)]]
    )
    return [*out, [PlaceRelease(order.service, *slot)], [StartSlot(order.service, *slot)], [warm(order, *slot)], [AdmitSlot(order.service, *slot)]]


def interrupt_waves(order: RolloutOrder) -> list[Wave]:
    """Replace a singleton behind the maintenance page."""
    inner = [wave for now in order.instances for wave in replace_in_place(order, now, needs_others=False)]
    return [[SetMaintenance(order.service, order.release, on=True)], *inner, [SetMaintenance(order.service, order.release, on=False)]]


def warm(order: RolloutOrder, host: str, slot: SlotLetter, release: str) -> WarmSlot:
    """Return the step that waits for a slot's health."""
    return WarmSlot(
        order.service,
        host,
        slot,
        release,
        passes=order.health.passes,
        min_healthy_seconds=order.min_healthy_seconds,
        interval_seconds=min(order.health.interval, FAST_CHECK_SECONDS),
        timeout_seconds=order.rules.instance_deadline,
    )


def drain(order: RolloutOrder, host: str, slot: SlotLetter, release: str, *, others: int) -> DrainSlot:
    """Return the step that takes a slot out of traffic."""
    return DrainSlot(
        order.service,
        host,
        slot,
        release,
        others_needed=others,
        drain_seconds=order.drain_seconds,
        settle_seconds=order.rules.settle,
        policy=order.rules.drain_policy,
        timeout_seconds=order.drain_seconds * EXTENSIONS + order.rules.settle + 30,
    )


def plan_return(order: RolloutOrder, touched: Sequence[SlotStep]) -> list[Planned[Fleet]]:
    """Return the way back after a failure: every touched host to what it served before, then the new release away.

    `order` is the rollout's; `touched` are the slot steps of it that were begun. With nothing certified yet, nothing is returned to
    and the route stays at 503.
    """
    hosts = {step.host for step in touched}
    back = replace(order, is_return=True, instances=tuple(now for now in order.instances if now.host in hosts))
    strategies = {"rolling": return_rolling, "in_turn": return_in_place, "interrupt": return_interrupted}
    waves = strategies[order.rules.strategy](back, order)
    return staged([*waves, [StopProbe(order.service, order.release, judges=False)]])


def return_rolling(back: RolloutOrder, order: RolloutOrder) -> list[Wave]:
    """Old slots first, all together; then the new ones out."""
    old = [(now.host, now.active, now.release) for now in back.instances if now.active is not None]
    new = [(now.host, now.idle, order.release) for now in back.instances]
    return [
        [StartSlot(order.service, *slot) for slot in old],
        [warm(back, *slot) for slot in old],
        [AdmitSlot(order.service, *slot) for slot in old],
        [drain(back, *slot, others=min(len(old), order.others_needed)) for slot in new],
        [StopSlot(order.service, *slot) for slot in new],
    ]


def return_in_place(back: RolloutOrder, order: RolloutOrder) -> list[Wave]:
    """Host by host, the old release into the only slot again."""
    return [wave for now in back.instances for wave in return_one(back, order, now)]


def return_one(back: RolloutOrder, order: RolloutOrder, now: InstanceNow) -> list[Wave]:
    """Return one instance to what it served before, or to nothing."""
    out: list[Wave] = [[drain(back, now.host, "a", order.release, others=0)], [StopSlot(order.service, now.host, "a", order.release)]]
    if now.active is None:
        return out
    slot: tuple[str, SlotLetter, str] = (now.host, "a", now.release)
    return [*out, [PlaceRelease(order.service, *slot)], [StartSlot(order.service, *slot)], [warm(back, *slot)], [AdmitSlot(order.service, *slot)]]


def return_interrupted(back: RolloutOrder, order: RolloutOrder) -> list[Wave]:
    """Behind the maintenance page, then the page away."""
    return [*return_in_place(back, order), [SetMaintenance(order.service, order.release, on=False)]]


def certified_return(order: RolloutOrder) -> RolloutOrder:
    """Return the order for a rollback: the certified release on every host, by the same rules, without waiting."""
    return replace(order, release=order.certified, is_return=True, bake_seconds=0.0)
