"""Which hosts `resume --only failed` goes on with, and what it refuses (docs/verbs/resume.md)."""

from __future__ import annotations

import pytest

from manor.errors import UsageError
from manor.operations.planning import Result, standing
from manor.reconcile.plan import Action, Change, Plan
from manor.state import journal, operations
from manor.state.journal import NewStep
from manor.state.operations import NewOperation
from manor.state.words import OperationState, Outcome
from manor.workflows.applying import on_hosts
from manor.workflows.context import Context
from manor.workflows.retrying import failed_hosts, find_ended, require_last

FORWARD = {"web-1": Outcome.OK, "web-2": Outcome.FAILED, "web-3": Outcome.UNREACHABLE, "web-4": Outcome.SKIPPED}


async def ended(context: Context, verb: str, state: OperationState, *, back: dict[str, Outcome] | None = None, service: str = "") -> Result:
    """Return an operation that has ended with these outcomes forward, and on the way back if there was one."""
    store = context.store
    operation = await store.write(operations.create, NewOperation(verb, "prod", service), at=store.clock.now())
    await store.write(operations.begin, operation.id, 9, at=store.clock.now())
    for plan, outcomes in enumerate([FORWARD, *([back] if back else [])]):
        steps = [NewStep(0, "kind", 1, "{}", 9.0, host=host) for host in outcomes]
        await store.write(journal.append, operation.id, steps, plan=plan)
        rows = await store.read(journal.steps, operation.id, plan)
        for row, outcome in zip(rows, outcomes.values(), strict=True):
            await store.write(journal.done, operation.id, row.seq, 9, outcome, "why", at=store.clock.now())
        await store.write(operations.set_plan, operation.id, 9, plan)
    await store.write(operations.end, operation.id, 9, state, "why", at=store.clock.now())
    return await standing(store, operation.id)


async def test_an_apply_goes_on_with_what_failed_or_was_unreachable(opened: Context) -> None:
    result = await ended(opened, "apply", OperationState.REVERTED)
    assert failed_hosts(result) == {"web-2", "web-3"}
    assert (await find_ended(opened.store, "", environment="prod")).operation.id == result.operation.id
    assert (await find_ended(opened.store, result.operation.id)).operation.id == result.operation.id


async def test_a_rollout_goes_on_with_what_was_not_brought_back(opened: Context) -> None:
    result = await ended(opened, "ship", OperationState.FAILED, back={"web-2": Outcome.OK, "web-3": Outcome.UNREACHABLE}, service="shop")
    assert failed_hosts(result) == {"web-3"}
    assert result.hosts == FORWARD, "what failed forward is told, though it was brought back"


@pytest.mark.parametrize(
    ("verb", "state", "back", "told"),
    [
        ("ship", OperationState.REVERTED, {"web-2": Outcome.OK}, "is reverted: no host of it is left half-way; to try again, `manor ship`"),
        ("ship", OperationState.DONE, None, "is done: no host of it is left half-way"),
        ("ship", OperationState.FAILED, {"web-2": Outcome.OK}, "is failed: no host of it failed or was unreachable"),
    ],
)
async def test_where_there_is_nothing_to_go_on_with_it_says_what_to_do(
    opened: Context, verb: str, state: OperationState, back: dict[str, Outcome] | None, told: str
) -> None:
    result = await ended(opened, verb, state, back=back, service="shop")
    with pytest.raises(UsageError, match=told):
        failed_hosts(result)


async def test_what_has_not_ended_is_resumed_as_a_whole(opened: Context) -> None:
    result = await ended(opened, "apply", OperationState.PAUSED)
    with pytest.raises(UsageError, match=rf"{result.operation.id} \(apply prod\) has not ended; `manor resume {result.operation.id}` goes on with all of it"):
        await find_ended(opened.store, "")
    with pytest.raises(UsageError, match="there is no operation of crm in dev"):
        await find_ended(opened.store, "crm", environment="dev")


async def test_what_was_rolled_out_since_is_not_undone(opened: Context) -> None:
    first = await ended(opened, "ship", OperationState.FAILED, service="shop")
    await require_last(opened.store, first.operation)
    await ended(opened, "ship", OperationState.DONE, service="shop")
    with pytest.raises(UsageError, match="prod/shop was worked on since"):
        await require_last(opened.store, first.operation)


def test_a_plan_in_part_has_the_changes_of_these_hosts_alone() -> None:
    plan = Plan("prod", "d", tuple(Change(host, "host", Action.START, "x") for host in ("web-1", "web-2")), hash="h")
    assert [change.host for change in on_hosts(plan, frozenset({"web-2"})).changes] == ["web-2"]
    assert on_hosts(plan, frozenset()) is plan
