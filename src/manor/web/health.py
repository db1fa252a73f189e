"""How services are, from what the controller saw of their balancers.

Invariant: nothing is called healthy that nobody saw to be so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from manor.web.views import InstanceView, ServiceView, SlotView
from manor.workflows.health import Health, is_disputed, judge, told_dispute

if TYPE_CHECKING:
    from manor.workflows.status import ServiceStatus, SlotStatus
    from manor.workflows.watching import Seen

SERVING = "serving"


def with_health(view: ServiceView, seen: Seen | None) -> ServiceView:
    """Return a service with what its balancers say of it; one that is not to serve has no health."""
    status = next((one for one in seen.services if one.name == view.name), None) if seen else None
    health = health_of(status, is_at_work=view.name in seen.at_work) if seen and status else unseen_health(view)
    if not health:
        return view
    slots = {slot.server: slot for slot in status.slots} if status else {}
    instances = tuple(instance_health(instance, slots) for instance in view.instances)
    return view.model_copy(update={"instances": instances, "health": health})


def unseen_health(view: ServiceView) -> Health:
    """Return the health of what nobody could see: not known, where the store says that it serves."""
    return "unknown" if any(slot.traffic == SERVING for instance in view.instances for slot in instance.slots) else ""


def instance_health(instance: InstanceView, slots: dict[str, SlotStatus]) -> InstanceView:
    """Return an instance whose serving slots bear their health."""
    found = tuple(slot_health(slot, slots.get(f"{instance.host}-{slot.slot}")) for slot in instance.slots)
    return instance.model_copy(update={"slots": found})


def slot_health(slot: SlotView, seen: SlotStatus | None) -> SlotView:
    """Return a slot with its health; of one without traffic nothing is said."""
    if slot.traffic != SERVING or seen is None:
        return slot
    return slot.model_copy(update={"is_healthy": seen.is_healthy, "is_disputed": is_disputed(seen), "detail": told_dispute(seen) or slot.detail})


def health_of(status: ServiceStatus, *, is_at_work: bool) -> Health:
    """Return a service's health in a word."""
    return judge(status, is_at_work=is_at_work).health
