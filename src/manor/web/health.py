"""How services are, from what the controller saw of their balancers.

Invariant: nothing is called healthy that nobody saw to be so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from manor.web.views import Health, InstanceView, ServiceView, SlotView

if TYPE_CHECKING:
    from manor.workflows.status import ServiceStatus, SlotStatus
    from manor.workflows.watching import Seen

SERVING = "serving"


def with_health(view: ServiceView, seen: Seen | None) -> ServiceView:
    """Return a service with what its balancers say of it; one that has no traffic has no health."""
    if not any(slot.traffic == SERVING for instance in view.instances for slot in instance.slots):
        return view
    status = next((one for one in seen.services if one.name == view.name), None) if seen else None
    slots = {slot.server: slot for slot in status.slots} if status else {}
    instances = tuple(instance_health(instance, slots) for instance in view.instances)
    return view.model_copy(update={"instances": instances, "health": health_of(status)})


def instance_health(instance: InstanceView, slots: dict[str, SlotStatus]) -> InstanceView:
    """Return an instance whose serving slots bear their health."""
    found = tuple(slot_health(slot, slots.get(f"{instance.host}-{slot.slot}")) for slot in instance.slots)
    return instance.model_copy(update={"slots": found})


def slot_health(slot: SlotView, seen: SlotStatus | None) -> SlotView:
    """Return a slot with its health; of one without traffic nothing is said."""
    return slot.model_copy(update={"is_healthy": seen.is_healthy if seen else None}) if slot.traffic == SERVING else slot


def health_of(status: ServiceStatus | None) -> Health:
    """Return a service's health in a word: an outage is where nothing that has traffic may be healthy."""
    if status is None or not any(slot.seen for slot in status.slots):
        return "unknown"
    ready = [slot.is_healthy for slot in status.slots if slot.seen == "ready"]
    if all(one is False for one in ready):
        return "outage"
    if False in ready or status.problem:
        return "degraded"
    return "unknown" if None in ready else "well"
