"""Plans a rollout: which slots, in which batches, in which order (docs/rollout.md).

Invariant: pure, and fixed when the rollout is planned; the way back is planned from what was begun (`wayback.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from manor.estate.model import Health, RolloutRules
from manor.operations.step import Planned, Step
from manor.rollout.fleet import Fleet, SlotLetter
from manor.rollout.framing import BAKE_SLACK_SECONDS, Bake, Certify, Preflight, SetMaintenance, StartProbe, StopProbe
from manor.rollout.losses import LEAST_ALONE
from manor.rollout.moving import EXTENSIONS, SLACK_SECONDS, AdmitSlot, DrainSlot
from manor.rollout.slots import LOOK_SECONDS, PlaceRelease, StartSlot, WarmSlot
from manor.rollout.stopping import StopSlot

FAST_CHECK_SECONDS = 0.5
BASELINE_SECONDS = 2.0
SHORT_BASELINE_SECONDS = 1.0
"""With two slots: enough to see whether the service works."""
ANSWER_SECONDS = 0.5
"""The last of the first requests of a slow probe has so long for its answer."""
DOUBTFUL_SECONDS = 15.0
"""So long the probe asks at the most until it is known whether the service is failing: a request that is never answered takes 10 s."""
LONGEST_ALONE_SECONDS = 60.0
"""So long it asks at the most until the new release has served enough requests alone."""


@dataclass(frozen=True)
class InstanceNow:
    """An instance as it is before the rollout."""

    host: str
    active: SlotLetter | None
    """The slot that serves; None: nothing was ever released here."""
    release: str = ""
    """What the active slot holds."""
    is_healthy: bool = True
    """It serves on every balancer."""
    is_idle_used: bool = False
    """The other slot still runs or has a mark on a balancer: left over from something that was given up."""

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
    beside: int = 0
    """Instances that are left as they are."""
    probe_period_seconds: float = 0.0
    """Between two of the rarest requests of the probe: so long it takes until each was asked once."""

    @property
    def min_healthy_seconds(self) -> float:
        """How long a new instance must stay healthy."""
        return 0.0 if self.is_return else self.rules.min_healthy_time

    @property
    def idle_seconds(self) -> float:
        """How long a stop waits for open connections at the most; behind the maintenance page nothing comes over them, and waiting would be outage."""
        return 0.0 if self.rules.strategy == "interrupt" else self.drain_seconds

    @property
    def others_needed(self) -> int:
        """Healthy servers that must be there whenever one is taken out."""
        return self.rules.least_healthy(self.count)

    @property
    def count(self) -> int:
        """How many instances there are, those that are left as they are included."""
        return len(self.instances) + self.beside


Slots = tuple[tuple[str, SlotLetter], ...]
Wave = list[Step[Fleet]]


def plan_rollout(order: RolloutOrder) -> list[Planned[Fleet]]:
    """Return the steps forward; steps of one stage run together."""
    strategies = {"rolling": rolling_waves, "in_turn": in_turn_waves, "interrupt": interrupt_waves}
    hosts = tuple((now.host, slot_for(order, now)) for now in order.instances)
    served_before = has_served(order)
    probe: Wave = [StartProbe(order.service, order.release, baseline_seconds(order), longest_baseline_seconds(order))]
    before: list[Wave] = [[Preflight(order.service, order.release, hosts, is_strict=not order.is_return)], probe if served_before else []]
    judging = StopProbe(
        order.service,
        order.release,
        order.loss_budget,
        longest_outage=outage_allowed(order.rules),
        is_return=order.is_return,
        alone_seconds=alone_seconds(order),
    )
    after: list[Wave] = [
        [] if served_before else probe,
        [Bake(order.service, order.release, order.bake_seconds, hosts, timeout_seconds=order.bake_seconds + BAKE_SLACK_SECONDS)],
        [judging],
        [Certify(order.service, order.release)],
    ]
    return staged([*before, *strategies[order.rules.strategy](order), *after])


def baseline_seconds(order: RolloutOrder) -> float:
    """Return how long the probe asks before anything is touched; a first release has nothing before.

    A return waits no longer than it takes to see with which class of status each path is answered.
    """
    if order.is_return or not has_served(order):
        return SHORT_BASELINE_SECONDS if has_served(order) else 0.0
    least = SHORT_BASELINE_SECONDS if order.rules.strategy == "rolling" else BASELINE_SECONDS
    return min(max(least, order.probe_period_seconds + ANSWER_SECONDS), DOUBTFUL_SECONDS)


def longest_baseline_seconds(order: RolloutOrder) -> float:
    """Return how long it asks at the most while it is doubtful whether the service is failing; what is interrupted, or a return, is not judged by these."""
    return DOUBTFUL_SECONDS if has_served(order) and not order.is_return and order.rules.strategy != "interrupt" else 0.0


def alone_seconds(order: RolloutOrder) -> float:
    """Return how long the probe asks after the bake where something was lost, until every request was due often enough since the new release serves alone.

    Nothing where that decides nothing: on a return, of a first release, and of what is interrupted.
    """
    if not longest_baseline_seconds(order):
        return 0.0
    return max(0.0, min(LEAST_ALONE * order.probe_period_seconds + ANSWER_SECONDS, LONGEST_ALONE_SECONDS) - order.bake_seconds)


def has_served(order: RolloutOrder) -> bool:
    """Tell whether anything served before."""
    return any(now.active is not None for now in order.instances)


def outage_allowed(rules: RolloutRules) -> float | None:
    """Return how long the service may be away; None for a strategy that loses nothing."""
    return rules.longest_outage if rules.strategy == "interrupt" else None


def slot_for(order: RolloutOrder, now: InstanceNow) -> SlotLetter:
    """Return the slot that gets the release on an instance."""
    return now.idle if order.rules.strategy == "rolling" else "a"


def staged(waves: Iterable[Wave]) -> list[Planned[Fleet]]:
    """Return the steps of waves that follow one another."""
    filled = [wave for wave in waves if wave]
    return [Planned(stage, step) for stage, wave in enumerate(filled) for step in wave]


def total_seconds(steps: Iterable[Planned[Fleet]]) -> float:
    """Return how long all stages may take together: what the whole rollout is given, as an absolute deadline when it begins."""
    longest: dict[int, float] = {}
    for planned in steps:
        longest[planned.stage] = max(longest.get(planned.stage, 0.0), planned.step.timeout_seconds)
    return sum(longest.values())


def batches(order: RolloutOrder) -> list[tuple[InstanceNow, ...]]:
    """Return the instances in the order they are moved: unhealthy ones first, then one alone, then as many as may be missing at once."""
    ordered = in_order(order.instances)
    size = max(1, order.count - order.others_needed)
    rest = ordered[1:]
    return [tuple(ordered[:1]), *(tuple(rest[at : at + size]) for at in range(0, len(rest), size))]


def in_order(instances: Iterable[InstanceNow]) -> list[InstanceNow]:
    """Return instances with unhealthy ones first, then by host."""
    return sorted(instances, key=lambda now: (now.is_healthy, now.host))


def rolling_waves(order: RolloutOrder) -> list[Wave]:
    """Two slots: the new one comes up beside the old one, which is then drained and stopped."""
    waves: list[Wave] = []
    moved: list[InstanceNow] = []
    for batch in batches(order):
        moved += batch
        waves += rolling_batch(order, batch, tuple((now.host, now.idle) for now in moved))
    return waves


def rolling_batch(order: RolloutOrder, batch: Sequence[InstanceNow], upheld: Slots) -> list[Wave]:
    """Return the waves of one batch; `upheld` are all new slots up to this batch."""
    new = [(now.host, now.idle, order.release) for now in batch]
    old = [(now.host, now.active, now.release) for now in batch if now.active is not None]
    drains = [drain(order, *slot, others=order.others_needed, upheld=upheld, guarded=True) for slot in old]
    return [
        *clearing(order, batch),
        [PlaceRelease(order.service, *slot) for slot in new],
        [StartSlot(order.service, *slot) for slot in new],
        [warm(order, *slot) for slot in new],
        [AdmitSlot(order.service, *slot) for slot in new],
        [*drains],
        [StopSlot(order.service, one.host, one.slot, one.release, drain=one, idle_seconds=order.idle_seconds) for one in drains],
    ]


def clearing(order: RolloutOrder, batch: Sequence[InstanceNow]) -> list[Wave]:
    """Return the waves that empty idle slots in which something was left."""
    left = [(now.host, now.idle, "") for now in batch if now.is_idle_used]
    return [
        [drain(order, *slot, others=order.others_needed) for slot in left],
        [StopSlot(order.service, *slot, idle_seconds=order.idle_seconds) for slot in left],
    ]


def in_turn_waves(order: RolloutOrder) -> list[Wave]:
    """One slot: drained, stopped, replaced, started and admitted, host by host."""
    ordered = in_order(order.instances)
    return [wave for place, now in enumerate(ordered) for wave in replace_in_place(order, now, tuple((done.host, "a") for done in ordered[:place]))]


def replace_in_place(order: RolloutOrder, now: InstanceNow, upheld: Slots) -> list[Wave]:
    """Return the waves that put the release into the only slot of an instance."""
    out: list[Wave] = []
    if now.active is not None or now.is_idle_used:
        first = drain(order, now.host, "a", now.release, others=others_in_turn(order), upheld=upheld, guarded=now.active is not None)
        out = [[first], [StopSlot(order.service, now.host, "a", now.release, drain=first, idle_seconds=order.idle_seconds)]]
    return [*out, *fill(order, now.host, "a", order.release)]


def fill(order: RolloutOrder, host: str, slot: SlotLetter, release: str) -> list[Wave]:
    """Return the waves that bring a release up in an empty slot."""
    where: tuple[str, SlotLetter, str] = (host, slot, release)
    return [[PlaceRelease(order.service, *where)], [StartSlot(order.service, *where)], [warm(order, *where)], [AdmitSlot(order.service, *where)]]


def others_in_turn(order: RolloutOrder) -> int:
    """Return how many healthy ones there must be beside one that has no second slot; a singleton has none."""
    return min(order.others_needed, order.count - 1)


def interrupt_waves(order: RolloutOrder) -> list[Wave]:
    """Replace a singleton behind the maintenance page."""
    inner = [wave for now in order.instances for wave in replace_in_place(order, now, ())]
    return [[SetMaintenance(order.service, order.release, on=True)], *inner, [SetMaintenance(order.service, order.release, on=False)]]


def warm(order: RolloutOrder, host: str, slot: SlotLetter, release: str) -> WarmSlot:
    """Return the step that waits for a slot's health."""
    rules = order.rules
    return WarmSlot(
        order.service,
        host,
        slot,
        release,
        passes=order.health.passes,
        min_healthy_seconds=order.min_healthy_seconds,
        interval_seconds=min(order.health.interval, FAST_CHECK_SECONDS),
        timeout_seconds=min(rules.instance_deadline, rules.longest_outage or rules.instance_deadline) + LOOK_SECONDS,
        progress_seconds=0.0 if order.is_return else rules.progress_deadline,
    )


def drain(order: RolloutOrder, host: str, slot: SlotLetter, release: str, *, others: int, upheld: Slots = (), guarded: bool = False) -> DrainSlot:
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
        timeout_seconds=order.drain_seconds * EXTENSIONS + order.rules.settle + SLACK_SECONDS,
        upheld=upheld,
        guarded=guarded,
        behind_page=order.rules.strategy == "interrupt",
    )


def returning(order: RolloutOrder, release: str) -> RolloutOrder:
    """Return the order as it is on a way back: another release, by the same rules, without waiting beyond the passes."""
    return replace(order, release=release, is_return=True)
