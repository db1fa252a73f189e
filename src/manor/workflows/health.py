"""Whether a service serves, judged balancer by balancer: the same for `manor status`, the status page and the API (docs/verbs/status.md).

Invariant: an outage is only what no balancer denies: each has answered, and to none is a slot in traffic that may be healthy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from manor.integrations.proxies.base import ServerView

if TYPE_CHECKING:
    from manor.workflows.status import ServiceStatus, SlotStatus

Health = Literal["", "well", "unknown", "degraded", "partial", "outage"]
READY = "ready"
"""What the store and the balancers say of what has traffic."""


@dataclass(frozen=True)
class SeenAt:
    """How one balancer treats a slot."""

    balancer: str
    traffic: str
    is_healthy: bool | None
    in_flight: int | None = None

    @property
    def may_serve(self) -> bool:
        """Tell whether it sends traffic there, and does not take it for dead."""
        return self.traffic == READY and self.is_healthy is not False

    @property
    def is_sick(self) -> bool:
        """Tell whether it is to send traffic there, and its checks fail."""
        return self.traffic == READY and self.is_healthy is False


def seen_at(balancer: str, view: ServerView) -> SeenAt:
    """Return how a balancer treats a slot."""
    return SeenAt(balancer, view.traffic.value, view.is_healthy, view.in_flight)


@dataclass(frozen=True)
class Judgement:
    """How a service is, and to whom."""

    health: Health
    dead: tuple[str, ...] = ()
    """The balancers to which nothing in traffic is healthy."""
    serving: tuple[str, ...] = ()
    """Those that send traffic to what may be healthy."""


def judge(service: ServiceStatus, *, is_at_work: bool) -> Judgement:
    """Return how a service is. What is not to serve has no health: nothing was released, or the operation under way has taken it out."""
    is_due = any(slot.remembered == READY for slot in service.slots) or (bool(service.certified) and not is_at_work)
    views = [view for slot in service.slots for view in slot.at]
    if not is_due:
        return Judgement("")
    serving = balancers_of(view for view in views if view.may_serve)
    dead = tuple(name for name in balancers_of(views) if name not in serving)
    return Judgement(word_of(service, views, dead, serving), dead, serving)


def word_of(service: ServiceStatus, views: list[SeenAt], dead: tuple[str, ...], serving: tuple[str, ...]) -> Health:
    """Return a service's health in a word."""
    if not views:
        return "unknown"
    if dead:
        return "partial" if serving or service.silent else "outage"
    if service.problem or any(view.is_sick for view in views):
        return "degraded"
    return "unknown" if any(view.traffic == READY and view.is_healthy is None for view in views) else "well"


def balancers_of(views: Iterable[SeenAt]) -> tuple[str, ...]:
    """Return each balancer once, in order."""
    return tuple(dict.fromkeys(view.balancer for view in views))


def sick_at(slot: SlotStatus) -> tuple[str, ...]:
    """Return the balancers that are to send traffic to a slot, and whose checks of it fail."""
    return balancers_of(view for view in slot.at if view.is_sick)


def is_disputed(slot: SlotStatus) -> bool:
    """Tell whether a slot fails the checks of one balancer and passes those of another."""
    return bool(sick_at(slot)) and any(view.is_healthy for view in slot.at)


def told_dispute(slot: SlotStatus) -> str:
    """Return in words who takes a disputed slot for unhealthy, and who does not; of another nothing."""
    well = balancers_of(view for view in slot.at if view.is_healthy)
    return f"unhealthy to {', '.join(sick_at(slot))}, healthy to {', '.join(well)}" if is_disputed(slot) else ""


def all_agree(said: list[bool | None]) -> bool | None:
    """Return what balancers' checks say with one voice; None: one denies the other, none knows, or nothing was asked."""
    if False in said:
        return None if True in said else False
    return None if None in said or not said else True
