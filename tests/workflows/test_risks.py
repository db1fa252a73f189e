"""What a plan says it risks: a health check or port that changed under a service that runs (docs/apply.md, on the air)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from manor.estate.load import load_estate
from manor.state import operations, releases
from manor.state.operations import NewOperation
from manor.state.words import OperationState, Slot
from manor.workflows.context import Context
from manor.workflows.risks import find_risks
from manor.workflows.snapshots import keep_estate

HEALTH = "services.shop.health has changed, and shop runs: no tier is changed while too few of its instances answer the new check"
PORT = "services.shop.run.port has changed, and shop runs at the old one: no tier is changed while it does"


async def applied(context: Context, state: OperationState = OperationState.DONE) -> None:
    """Have the estate as it is now applied to `prod`."""
    store = context.store
    keep_estate(context)
    operation = await store.write(operations.create, NewOperation("apply", "prod", estate_digest=context.estate.digest), at=store.clock.now())
    await store.write(operations.begin, operation.id, 9, at=store.clock.now())
    await store.write(operations.end, operation.id, 9, state, "", at=store.clock.now())


def runs(context: Context) -> None:
    """Have an instance of the shop serve in `prod`."""
    store, at = context.store, context.store.clock.now()
    rollout = store.write_now(operations.create, NewOperation("ship", "prod", "shop"), at=at)
    store.write_now(operations.begin, rollout.id, 9, at=at)
    store.write_now(releases.put_deployment, "prod", "shop", "shop@web-1#1", "web-1", Slot.A, rollout.id, 9, at=at)


def changed(context: Context, old: str, new: str) -> Context:
    """Return the context with another estate."""
    text = context.file.read_text()
    assert old in text
    context.file.write_text(text.replace(old, new))
    return replace(context, estate=load_estate(context.file))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("http: /healthz", "http: /ready", (HEALTH,)),
        ("http: /healthz", "http: /healthz, status: 204", (HEALTH,)),
        ("http: /healthz", "http: /healthz, interval: 5s, passes: 2", ()),
        ("port: 8100", "port: 8200", (PORT,)),
        ("{host: shop}", "{host: store}", ()),
    ],
    ids=["path", "status", "rhythm", "port", "route"],
)
async def test_what_has_changed_under_a_service_that_runs_is_told(opened: Context, old: str, new: str, told: tuple[str, ...]) -> None:
    await applied(opened)
    runs(opened)
    assert await find_risks(opened, "prod") == ()
    assert await find_risks(changed(opened, old, new), "prod") == told


async def test_what_does_not_run_risks_nothing(opened: Context) -> None:
    await applied(opened)
    assert await find_risks(changed(opened, "port: 8100", "port: 8200"), "prod") == ()


async def test_only_what_was_applied_to_its_end_counts(opened: Context) -> None:
    await applied(opened, OperationState.REVERTED)
    runs(opened)
    assert await find_risks(changed(opened, "port: 8100", "port: 8200"), "prod") == ()
