"""What a service's instances are before a rollout: what is remembered, held against what balancers and supervisors say.

Invariant: reads only. Where the two differ, what really serves counts: something may have been given up half-way. What one of them can't say does not
make the other unheard.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from manor.errors import CommandFailed, Unreachable
from manor.rollout.fleet import Fleet, SlotLetter, SlotRef
from manor.rollout.plan import InstanceNow
from manor.rollout.stopping import StopSlot
from manor.rollout.views import is_out, serves_everywhere

OTHER: Mapping[SlotLetter, SlotLetter] = {"a": "b", "b": "a"}


async def look_at_instances(ports: Fleet, service: str, hosts: Iterable[str], slots: tuple[SlotLetter, ...]) -> tuple[InstanceNow, ...]:
    """Return the instances, without the releases in them; `slots` are those that the strategy uses."""
    return tuple([await look_at(ports, service, host, slots) for host in hosts])


async def look_at(ports: Fleet, service: str, host: str, slots: tuple[SlotLetter, ...]) -> InstanceNow:
    """Return one instance. Preflight says what does not answer."""
    remembered = await ports.active(service, host)
    serving = await serving_slots(ports, service, host, slots)
    active = remembered if serving is None or remembered in serving or not serving else serving[0]
    idle = OTHER[active] if active else "a"
    is_idle_used = idle in slots and await is_used(ports, SlotRef(service, host, idle))
    return InstanceNow(host, active, is_healthy=serving is None or active is None or active in serving, is_idle_used=is_idle_used)


async def serving_slots(ports: Fleet, service: str, host: str, slots: tuple[SlotLetter, ...]) -> list[SlotLetter] | None:
    """Return the slots that every balancer gives traffic; None if one of them does not answer: then memory is all there is."""
    try:
        return [slot for slot in slots if await serves_everywhere(ports, SlotRef(service, host, slot))]
    except (Unreachable, CommandFailed):
        return None


async def is_used(ports: Fleet, slot: SlotRef) -> bool:
    """Tell whether a slot runs, or has a mark on a balancer; what can't be seen is taken for used: to clear an empty slot is harmless."""
    try:
        return await ports.lives(slot) or not await is_out(ports, slot)
    except (Unreachable, CommandFailed):
        return True


async def is_any_replacement_dead(ports: Fleet, stops: Iterable[StopSlot]) -> bool:
    """Tell whether a slot could not be stopped because what was admitted in its place serves no more: a guard had returned it meanwhile."""
    replacements = {(stop.service, *place) for stop in stops if stop.drain for place in stop.drain.upheld}
    try:
        return not all([await serves_everywhere(ports, SlotRef(*place)) for place in sorted(replacements)])
    except (Unreachable, CommandFailed):
        return False
