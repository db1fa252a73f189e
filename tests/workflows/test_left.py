"""An apply that somebody left half-way: gone on with, given up or ended by what comes next (docs/apply.md, left half-way)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from manor.errors import Busy, DifferencesFound
from manor.operations.planning import Result, create
from manor.reconcile.plan import Action, Change, Plan
from manor.state import audit, leases, operations
from manor.state.holder import process_start, this_process
from manor.state.operations import NewOperation, Operation
from manor.state.words import OperationState
from manor.workflows import foreseeing, left, up
from manor.workflows.applying import APPLY_KINDS, Planned
from manor.workflows.context import Context
from manor.workflows.foreseeing import foreseen_apply
from manor.workflows.left import end_left, left_applies, plan_after_left
from manor.workflows.rolling import Carrying
from tests.operations.model import take

ADA = Carrying("ada")
HASH = "4a3a6c548d28"
EMPTY = Plan("dev", "d", (), hash="f" * 64)
CHANGED = replace(EMPTY, changes=(Change("all-1", "host", Action.START, "x"),))


async def paused(context: Context, digest: str = "", verb: str = "apply") -> Operation:
    """Return an operation of `dev` that somebody stopped; of the present estate if no digest is given."""
    store = context.store
    new = NewOperation(verb, "dev", estate_digest=digest or context.estate.digest, plan_hash=HASH)
    operation = await create(store, new, [], APPLY_KINDS)
    lease = take(store, "dev", operation.id, 1)
    await store.write(operations.begin, operation.id, lease.token, at=store.clock.now())
    ended = await store.write(operations.end, operation.id, lease.token, OperationState.PAUSED, "stopped by SIGINT", at=store.clock.now())
    store.write_now(leases.release, "dev", lease.token)
    return ended


@pytest.fixture
def differs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Plan], None]:
    """Have every look at an environment find this plan."""

    def find(plan: Plan) -> None:
        async def plan_site(context: Context, environment: str) -> Planned:
            return Planned(plan, None, None)  # type: ignore[arg-type]

        for module in (left, foreseeing):
            monkeypatch.setattr(module, "plan_site", plan_site)

    return find


def state_of(context: Context, operation: Operation) -> OperationState:
    """Return how an operation stands."""
    return context.store.read_now(operations.get, operation.id).state


@pytest.mark.parametrize("plan", [EMPTY, CHANGED], ids=["nothing", "something"])
async def test_what_leads_to_the_present_estate_is_gone_on_with(opened: Context, differs: Callable[[Plan], None], plan: Plan) -> None:
    differs(plan)
    operation = await paused(opened)
    planned, ended = await plan_after_left(opened, "dev", ADA)
    assert planned.plan is plan
    assert ended is not None
    assert ended.operation.id == operation.id
    assert state_of(opened, operation) is OperationState.DONE


async def test_what_nothing_is_left_of_is_given_up_and_the_journal_says_why(opened: Context, differs: Callable[[Plan], None]) -> None:
    differs(EMPTY)
    operation = await paused(opened, "another")
    assert (await plan_after_left(opened, "dev", ADA))[1] is None
    assert state_of(opened, operation) is OperationState.ABANDONED
    line = opened.store.read_now(audit.lines, operation=operation.id)[-1]
    assert (line.actor, line.verb, line.after) == ("ada", "abandon", "abandoned")
    assert opened.store.read_now(operations.get, operation.id).summary == "all is as a later estate declares"


async def test_what_differs_again_once_nobody_else_changes_it_is_left_for_a_person(opened: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look that found nothing was taken before the lease was held."""
    looks = iter([EMPTY, CHANGED])

    async def plan_site(_context: Context, _environment: str) -> Planned:
        return Planned(next(looks), None, None)  # type: ignore[arg-type]

    monkeypatch.setattr(left, "plan_site", plan_site)
    operation = await paused(opened, "another")
    planned, _ = await plan_after_left(opened, "dev", ADA)
    assert planned.plan is CHANGED
    assert state_of(opened, operation) is OperationState.PAUSED


async def test_what_leads_elsewhere_is_left_for_a_person(opened: Context, differs: Callable[[Plan], None]) -> None:
    differs(CHANGED)
    operation = await paused(opened, "another")
    assert (await plan_after_left(opened, "dev", ADA))[1] is None
    assert state_of(opened, operation) is OperationState.PAUSED


@pytest.mark.parametrize(("expected", "state"), [(HASH, OperationState.DONE), ("0" * 12, OperationState.PAUSED)])
async def test_a_plan_that_was_named_is_the_one_that_is_gone_on_with(
    opened: Context, differs: Callable[[Plan], None], expected: str, state: OperationState
) -> None:
    differs(CHANGED)
    operation = await paused(opened)
    await plan_after_left(opened, "dev", ADA, expected=expected)
    assert state_of(opened, operation) is state


@pytest.mark.parametrize("digest", ["", "another"])
async def test_what_somebody_carries_out_is_busy(opened: Context, differs: Callable[[Plan], None], digest: str) -> None:
    differs(EMPTY)
    operation = await paused(opened, digest)
    other = replace(this_process(), pid=os.getppid(), process_started=process_start(os.getppid()) or 0)
    opened.store.write_now(leases.acquire, "dev", operation.id, holder=other, now=opened.store.clock.now())
    with pytest.raises(Busy):
        await plan_after_left(opened, "dev", ADA)
    assert state_of(opened, operation) is OperationState.PAUSED


async def test_up_goes_on_with_it_and_says_that_something_was_done(opened: Context, differs: Callable[[Plan], None], monkeypatch: pytest.MonkeyPatch) -> None:
    differs(EMPTY)
    operation = await paused(opened)

    async def nothing(*_words: object, **_more: object) -> Result | None:
        return None

    monkeypatch.setattr(left, "apply_plan", nothing)
    results = await up.bring_up(opened, ("dev",), ADA)
    assert results["dev"] is not None
    assert results["dev"].operation.id == operation.id


async def test_up_that_plans_anew_still_says_that_it_has_gone_on_with_something(
    opened: Context, differs: Callable[[Plan], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    differs(EMPTY)
    operation, moved = await paused(opened), iter([DifferencesFound("dev has changed since it was looked at")])

    async def once_moved(*_words: object, **_more: object) -> Result | None:
        for error in moved:
            raise error
        return None

    monkeypatch.setattr(left, "apply_plan", once_moved)
    results = await up.bring_up(opened, ("dev",), replace(ADA, wait_seconds=30.0))
    assert results["dev"] is not None
    assert results["dev"].operation.id == operation.id


async def test_a_dry_run_shows_what_is_left_of_it(opened: Context, differs: Callable[[Plan], None]) -> None:
    differs(EMPTY)
    operation = await paused(opened)
    shown = await foreseen_apply(opened, "dev", "up", "", allow_destroy=False)
    assert shown.note == f"what is left of operation {operation.id}"


async def test_other_verbs_and_other_environments_are_left_alone(opened: Context) -> None:
    await paused(opened, verb="down")
    operation = await paused(opened)
    assert [one.id for one in await left_applies(opened.store, "dev")] == [operation.id]
    assert await left_applies(opened.store, "prod") == ()
    lease = take(opened.store, "dev", operation.id, 2)
    await end_left(opened, operation, lease, ADA, "the environment was taken down")
    assert await left_applies(opened.store, "dev") == ()
