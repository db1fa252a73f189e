"""What pages and API show, as values: the API's JSON is these, field by field (docs/api.md).

Invariant: nothing here reads anything; times are UTC seconds since 1970.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from manor.workflows.health import Health

Tone = Literal["good", "busy", "bad", "quiet"]

TONES: dict[str, Tone] = {
    "passed": "good",
    "done": "good",
    "certified": "good",
    "deployed": "good",
    "serving": "good",
    "running": "busy",
    "warming": "busy",
    "draining": "busy",
    "admitting": "busy",
    "mixed": "busy",
    "planned": "busy",
    "failed": "bad",
    "timed_out": "bad",
    "abandoned": "bad",
    "burned": "bad",
    "rolled_back": "bad",
    "not restored": "bad",
    "paused": "bad",
}


def tone(word: str) -> Tone:
    """Return how a state's word is to be taken; words that are not known are neither good nor bad."""
    return TONES.get(word, "quiet")


def slot_tone(slot: SlotView, health: Health) -> Tone:
    """Return how a slot is to be taken: one that serves is good only if it was seen to be healthy, where anybody looks."""
    if slot.traffic != "serving" or not health:
        return tone(slot.traffic)
    return "bad" if slot.is_healthy is False or slot.is_disputed else "good" if slot.is_healthy else "quiet"


def slot_words(slot: SlotView, health: Health) -> str:
    """Return what a slot does, and how it is if it serves."""
    if slot.traffic != "serving" or not health:
        return slot.traffic
    if slot.is_disputed:
        return f"{slot.traffic} · balancers disagree"
    return f"{slot.traffic} · {'health not known' if slot.is_healthy is None else 'healthy' if slot.is_healthy else 'unhealthy'}"


class View(BaseModel):
    """A frozen value that goes out as JSON."""

    model_config = ConfigDict(frozen=True)


class SlotView(View):
    """One of an instance's two places."""

    slot: str
    release: str = ""
    traffic: str
    """The store's word: `serving`, `idle`, `draining`, …"""
    is_healthy: bool | None = None
    """What every balancer's checks said a few seconds ago, of a slot that serves; null: not known, not asked, or they disagree."""
    is_disputed: bool = False
    """One balancer takes it for healthy and another does not; `detail` says which."""
    detail: str = ""


class InstanceView(View):
    """One running copy of a service."""

    host: str
    slots: tuple[SlotView, ...] = ()


class ServiceView(View):
    """A service in one environment."""

    name: str
    release: str = ""
    """What is certified, or else deployed."""
    state: str = ""
    health: Health = ""
    """`outage`: to no balancer is anything in traffic healthy; `partial`: to some; `degraded`: all serve, but some slot is unhealthy or something could
    not be seen; `unknown`: nothing could; empty: it is not to serve."""
    url: str = ""
    instances: tuple[InstanceView, ...] = ()


class EnvironmentView(View):
    """One variant of the estate."""

    name: str
    after: str = ""
    note: str = ""
    """What a person must know first, e.g. who holds the lease."""
    services: tuple[ServiceView, ...] = ()


class OperationView(View):
    """Something that changes the estate, under way or done."""

    id: str
    verb: str
    environment: str = ""
    service: str = ""
    actor: str = ""
    state: str
    phase: str = ""
    summary: str = ""
    started_at: float | None = None
    ended_at: float | None = None


class DeliveryView(View):
    """An artifact on its way through environments."""

    id: str
    service: str
    artifact: str
    start: str
    to: str = ""
    environment: str = ""
    """The one that it was last about to enter."""
    actor: str = ""
    state: str
    summary: str = ""
    """Why it waits, or how it ended."""
    created_at: float
    ended_at: float | None = None


class RunView(View):
    """One execution of a pipeline."""

    id: str
    repository: str
    ref: str
    commit: str
    actor: str = ""
    state: str
    summary: str = ""
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None


class ReceiptView(View):
    """The proof of one rollout."""

    operation: str
    environment: str
    service: str
    release: str
    state: str = ""
    """How the rollout ended: `certified`, `rolled_back`, `not restored`, `abandoned`."""
    why: str = ""
    """What the operation says of an end that was not wished for."""
    lost: int
    sent: int
    """Requests of the probe; 0: nothing was probed, and `lost` says nothing."""
    created_at: float
    body: str = ""
    """JSON, as in `manor receipt --json`; empty in lists."""


class StatusPage(View):
    """Everything that the status page shows."""

    estate: str
    at: float
    problems: tuple[str, ...] = ()
    """What needs somebody, most urgent first; each with what to do."""
    environments: tuple[EnvironmentView, ...] = ()
    operations: tuple[OperationView, ...] = ()
    """Under way, newest first."""
    runs: tuple[RunView, ...] = ()
    receipts: tuple[ReceiptView, ...] = ()
