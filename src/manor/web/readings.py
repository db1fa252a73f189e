"""The store's rows as the API's views.

Invariant: reads only; one consistent view a call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from manor.rollout.receipt import parse_receipt
from manor.state import deliveries, operations, receipts, releases, runs
from manor.state.store import Connection, Store
from manor.state.words import DeliveryState, OperationState, Traffic
from manor.web.health import SERVING, with_health
from manor.web.views import (
    DeliveryView,
    EnvironmentView,
    InstanceView,
    OperationView,
    ReceiptView,
    RunView,
    ServiceView,
    SlotView,
    StatusPage,
)
from manor.workflows.watching import Seen

TRAFFIC_WORDS = {Traffic.READY: SERVING, Traffic.DRAINING: "draining", Traffic.NONE: "idle"}
WISHED = ("certified", "deployed")
UNDER_WAY = (OperationState.PLANNED, OperationState.RUNNING, OperationState.PAUSED)

Look = Callable[[], Mapping[str, Seen]]
"""Returns what was seen of environments lately, at once."""


@dataclass(frozen=True)
class EnvironmentFacts:
    """What the declaration says about an environment: name, the one before it, services' first addresses."""

    name: str
    after: str = ""
    urls: Mapping[str, str] = field(default_factory=dict)


class Readings:
    """Answers the API from one store."""

    def __init__(self, store: Store, estate: str, environments: Sequence[EnvironmentFacts], seen: Look | None = None) -> None:
        """Read `store` of the estate with these environments, in order of promotion; `seen` tells of their health, and None that nobody looks."""
        self._store = store
        self._estate = estate
        self._environments = environments
        self._look = seen

    def declare(self, estate: str, environments: Sequence[EnvironmentFacts]) -> None:
        """Show the estate as it is declared now."""
        self._estate, self._environments = estate, environments

    async def status(self) -> StatusPage:
        """Return everything that the status page shows."""
        return await self._store.read(self._status, self._look() if self._look else None)

    async def runs(self, repository: str, limit: int) -> Sequence[RunView]:
        """Return runs, newest first."""
        return [run_view(row) for row in await self._store.read(runs.recent, repository or None, (), limit)]

    async def run(self, identifier: str) -> RunView:
        """Return a run. Raises UsageError if there is none."""
        return run_view(await self._store.read(runs.get, identifier))

    async def operations(self, limit: int) -> Sequence[OperationView]:
        """Return operations, newest first."""
        return [operation_view(row) for row in await self._store.read(operations.recent, None, None, (), limit)]

    async def operation(self, identifier: str) -> OperationView:
        """Return an operation. Raises UsageError if there is none."""
        return operation_view(await self._store.read(operations.get, identifier))

    async def delivery(self, identifier: str) -> DeliveryView:
        """Return a delivery. Raises UsageError if there is none."""
        return delivery_view(await self._store.read(deliveries.get, identifier))

    async def receipts(self, limit: int) -> Sequence[ReceiptView]:
        """Return receipts without their bodies, newest first."""
        return await self._store.read(receipt_views, limit)

    async def receipt(self, operation: str) -> ReceiptView | None:
        """Return an operation's receipt, with its body."""
        row = await self._store.read(receipts.find, operation)
        return receipt_view(row, with_body=True) if row else None

    def _status(self, connection: Connection, seen: Mapping[str, Seen] | None) -> StatusPage:
        under_way = operations.recent(connection, states=UNDER_WAY)
        return StatusPage(
            estate=self._estate,
            at=self._store.clock.now(),
            problems=(
                *seen_problems(seen or {}),
                *(complaint(row) for row in under_way if row.state is OperationState.PAUSED),
                *stopped_deliveries(connection),
            ),
            environments=tuple(seen_environment(environment_view(connection, facts), seen) for facts in self._environments),
            operations=tuple(operation_view(row) for row in under_way),
            runs=tuple(run_view(row) for row in runs.recent(connection, limit=10)),
            receipts=tuple(receipt_views(connection, 10)),
        )


def seen_problems(seen: Mapping[str, Seen]) -> list[str]:
    """Return what hosts and services ask of a person, each with its environment."""
    return [f"{name}: {need}" for name, one in seen.items() for need in one.needs] + [one.problem for one in seen.values() if one.problem]


def seen_environment(view: EnvironmentView, seen: Mapping[str, Seen] | None) -> EnvironmentView:
    """Return an environment with the health of its services, where somebody looks."""
    if seen is None:
        return view
    return view.model_copy(update={"services": tuple(with_health(service, seen.get(view.name)) for service in view.services)})


def complaint(row: operations.Operation) -> str:
    """Return what a paused operation asks of a person."""
    where = "/".join(part for part in (row.environment, row.service) if part)
    return f"{row.verb} {where} is paused ({row.summary or row.phase or 'no reason given'}): {operations.ways_on(row.id)}"


def stopped_deliveries(connection: Connection) -> list[str]:
    """Return what paused deliveries ask of a person, but for those whose operation asks it already."""
    rows = [row for row in deliveries.unfinished(connection) if row.state is DeliveryState.PAUSED]
    return [
        f"{row.verb} {row.service} is paused at {row.environment} ({row.summary}): {operations.ways_on(row.id)}"
        for row in rows
        if not deliveries.has_unfinished_operation(connection, row.id)
    ]


def environment_view(connection: Connection, facts: EnvironmentFacts) -> EnvironmentView:
    """Return an environment with what runs in it."""
    rows = sorted(releases.deployments(connection, facts.name), key=lambda row: (row.service, row.host, row.instance))
    slots = releases.slots(connection, facts.name)
    services = [service_view(connection, facts, name, tuple(mine), slots) for name, mine in groupby(rows, key=lambda row: row.service)]
    silent = [ServiceView(name=name, url=url) for name, url in facts.urls.items() if name not in {service.name for service in services}]
    return EnvironmentView(name=facts.name, after=facts.after, services=tuple(sorted([*services, *silent], key=lambda view: view.name)))


def service_view(
    connection: Connection, facts: EnvironmentFacts, name: str, deployments: Sequence[releases.Deployment], slots: Sequence[releases.SlotRow]
) -> ServiceView:
    """Return a service of one environment with its instances and their slots."""
    instances = [instance_view(row, [slot for slot in slots if slot.instance == row.instance and slot.service == name]) for row in deployments]
    serving = sorted({slot.release for slot in slots if slot.service == name and slot.traffic is Traffic.READY})
    standing = releases.standing_of(connection, facts.name, name, serving[0]) if len(serving) == 1 else None
    state = standing.standing.value if standing else "mixed" if serving[1:] else "deployed" if serving else ""
    return ServiceView(name=name, release=", ".join(release[:12] for release in serving), state=state, url=facts.urls.get(name, ""), instances=tuple(instances))


def instance_view(row: releases.Deployment, slots: Sequence[releases.SlotRow]) -> InstanceView:
    """Return one running copy."""
    shown = [
        SlotView(slot=slot.slot.value, release=slot.release[:12], traffic=TRAFFIC_WORDS[slot.traffic], detail="" if slot.release else "empty")
        for slot in sorted(slots, key=lambda slot: slot.slot)
    ]
    return InstanceView(host=row.host, slots=tuple(shown))


def run_view(row: runs.Run) -> RunView:
    """Return a run as the API shows it."""
    return RunView.model_validate({name: getattr(row, name) for name in RunView.model_fields})


def operation_view(row: operations.Operation) -> OperationView:
    """Return an operation as the API shows it."""
    return OperationView.model_validate({name: getattr(row, name) for name in OperationView.model_fields})


def delivery_view(row: deliveries.Delivery) -> DeliveryView:
    """Return a delivery as the API shows it."""
    return DeliveryView.model_validate({name: getattr(row, name) for name in DeliveryView.model_fields})


def receipt_views(connection: Connection, limit: int) -> list[ReceiptView]:
    """Return the last receipts without their bodies."""
    rows = receipts.recent(connection, limit=limit)
    why = operations.summaries(connection, [row.operation for row in rows])
    return [receipt_view(row, why.get(row.operation, "")) for row in rows]


def receipt_view(row: receipts.ReceiptRow, summary: str = "", *, with_body: bool = False) -> ReceiptView:
    """Return a receipt as the API shows it."""
    values = {name: getattr(row, name) for name in ReceiptView.model_fields if name not in {"sent", "state", "why"}}
    receipt = parse_receipt(row.body)
    why = "" if receipt.state in WISHED else summary
    return ReceiptView.model_validate({**values, "sent": receipt.probe.sent, "state": receipt.state, "why": why, "body": row.body if with_body else ""})
