"""What lies in a slot on its host: whole, half placed, or another's; and how it is emptied (docs/rollout.md).

Invariant: looking changes nothing; a slot is emptied only when no program runs in it.
"""

from __future__ import annotations

from manor.estate.layout import short
from manor.estate.model import Service
from manor.execution.base import Runner
from manor.execution.values import Remove
from manor.rollout.release import Release, Where, render_env, slot_env, touch_of


async def oddity(runner: Runner, where: Where, release: Release, service: Service, remembered: str) -> str:
    """Return what a slot holds that is neither what the store remembers (a release's id) nor nothing; empty: it holds one of these.

    Asked of a slot that does not hold the release whole: then what there is of it is half placed.
    """
    layout, name = where.layout, release.service
    link, env = layout.slot(name, where.slot), layout.slot_env(name, where.slot)
    target = (await runner.digest([link])).get(link, "").removeprefix("-> ")
    if target == str(layout.release(name, release.short)) or (await runner.read([env])).get(env) == render_env(slot_env(release, service, where)):
        return f"{release.short} is half placed: {link} leads to {target or 'nothing'}"
    known = {"", *([str(layout.release(name, short(remembered)))] if remembered else [])}
    return "" if target in known else f"{link} leads to {target}, which is neither {release.short} nor what is remembered"


def emptying_acts(where: Where, service: str) -> tuple[Remove, ...]:
    """Return the acts that empty a slot; its link goes first, so that what is left of it is never used. Unpacked releases stay: the other slot may run one."""
    layout, slot, touch = where.layout, where.slot, touch_of(service)
    return tuple(Remove(path, touch) for path in (layout.slot(service, slot), layout.slot_env(service, slot), layout.slot_start(service, slot)))
