"""An operation goes all the way, fails, reverts, pauses and goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from manor.errors import ApplyFailed, CommandFailed, FencedOff, ManorError, NotRestored, Paused, TimedOut, Unreachable, UsageError
from manor.execution.values import Secret
from manor.operations.events import Event, What
from manor.operations.planning import append, create, standing
from manor.operations.step import Here, Planned, StepKinds, decode_evidence
from manor.operations.stop import Stop
from manor.state import audit, journal, leases, operations
from manor.state.journal import StepRow
from manor.state.operations import NewOperation, Operation
from manor.state.store import Store
from manor.state.words import JournalEvent, OperationState, Outcome
from tests.operations.model import KINDS, FakeClock, KillAt, Killed, SetCell, World, chain, holder, run, take

SHIP = NewOperation("ship", "prod", "shop", actor="ann", plan_hash="cafe")


async def back(_operation: Operation, _failed: Sequence[StepRow], world: World) -> list[Planned[World]]:
    """Bring every cell that was set back."""
    return [Planned(0, SetCell(host=host, before="new", after=""), key=f"back-{host}") for host, value in sorted(world.cells.items()) if value == "new"]


async def test_all_steps_are_done_in_order(store: Store) -> None:
    world, heard = World(), list[Event]()
    operation = await create(store, SHIP, chain(3), KINDS)
    result = await run(store, operation.id, world, heard=heard)
    result.raise_unless_done()
    assert result.operation.state is OperationState.DONE
    assert world.cells == {f"prod/web-{n}": "new" for n in (1, 2, 3)}
    assert [step.evidence for step in result.steps] == ["set to new"] * 3
    assert [event.what for event in heard] == [What.STARTED, *(What.INTENT, What.SAID, What.DONE) * 3, What.ENDED]
    assert heard[3].line() == "prod/web-1  set-cell  set to new"
    lines = store.read_now(audit.lines, operation=operation.id)
    assert [(line.actor, line.verb, line.object, line.after) for line in lines] == [
        ("ann", "ship", "prod/shop", "planned"),
        ("ann", "ship", "prod/shop", "running"),
        ("ann", "ship", "prod/shop", "done"),
    ]


async def test_intent_is_durable_before_the_act_and_carries_the_absolute_deadline(store: Store, clock: FakeClock) -> None:
    seen: list[tuple[JournalEvent, float | None]] = []

    @dataclass(frozen=True, kw_only=True)
    class Spy(SetCell):
        kind = "spy"

        async def act(self, ports: World, here: Here) -> str:
            seen.extend((line.event, line.deadline) for line in store.read_now(journal.history, here.operation))
            assert here.key == f"{here.operation}/1-spy"
            return ""

    operation = await create(store, SHIP, [Planned(0, Spy(host="", after="new", timeout_seconds=30))], StepKinds([Spy]))
    await run(store, operation.id, World(), kinds=StepKinds([Spy]))
    assert seen == [(JournalEvent.INTENT, clock.now() + 30)]


async def test_steps_of_a_stage_run_together_but_no_more_than_allowed(store: Store) -> None:
    most, now, three = [0], [0], asyncio.Barrier(3)

    @dataclass(frozen=True, kw_only=True)
    class Count(SetCell):
        kind = "count"

        async def act(self, ports: World, here: Here) -> str:
            now[0] += 1
            most[0] = max(most[0], now[0])
            await three.wait()
            now[0] -= 1
            return ""

    operation = await create(store, SHIP, [Planned(0, Count(host=f"h{n}", after="x")) for n in range(9)], StepKinds([Count]))
    await run(store, operation.id, World(), kinds=StepKinds([Count]), concurrent=3)
    assert most == [3]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (CommandFailed("exit 1", 1), Outcome.FAILED),
        (Unreachable("no route"), Outcome.UNREACHABLE),
        (TimedOut("30 s"), Outcome.UNREACHABLE),
        (KeyError("bug"), Outcome.FAILED),
    ],
)
async def test_a_failure_ends_the_plan_and_is_reverted(store: Store, error: Exception, outcome: Outcome) -> None:
    world = World(failing={"prod/web-2": error})
    operation = await create(store, SHIP, chain(3), KINDS)
    result = await run(store, operation.id, world, on_failure=back)
    assert result.operation.state is OperationState.REVERTED
    assert set(world.cells.values()) == {""}
    assert [step.outcome for step in result.steps] == [Outcome.OK, outcome, Outcome.SKIPPED, Outcome.OK]
    with pytest.raises(ApplyFailed, match="reverted"):
        result.raise_unless_done()


BOUNDARIES = 12
"""Of a chain of three steps, four moments each."""


@pytest.mark.parametrize("n", range(3, BOUNDARIES + 1))
async def test_what_was_killed_is_taken_back_where_that_is_wished_and_says_why(store: Store, n: int) -> None:
    operation, world = await create(store, SHIP, chain(3), KINDS), World()
    with pytest.raises(Killed):
        await run(store, operation.id, world, chaos=KillAt(n))
    heard: list[Event] = []
    result = await run(store, operation.id, world, 2, on_failure=back, heard=heard, back="ben wants it back")
    assert set(world.cells.values()) <= {""}
    is_left_out = n < BOUNDARIES - 1  # after the last act there is no step left that could say why it was not done
    assert (result.operation.state, result.operation.summary) == (OperationState.REVERTED, "ben wants it back" if is_left_out else "")
    assert {step.evidence for step in result.steps if step.outcome is Outcome.SKIPPED} <= {"not done: ben wants it back"}
    assert (What.REVERTING, "ben wants it back") in [(event.what, event.text) for event in heard]


async def test_whoever_dies_on_a_way_back_that_was_wished_leaves_it_to_be_gone_on_with_by_anybody(store: Store) -> None:
    operation, world = await create(store, SHIP, chain(3), KINDS), World()
    with pytest.raises(Killed):
        await run(store, operation.id, world, chaos=KillAt(7))
    with pytest.raises(Killed):
        await run(store, operation.id, world, 2, on_failure=back, back="ben wants it back", chaos=KillAt(2))
    result = await run(store, operation.id, world, 3, on_failure=back)
    assert set(world.cells.values()) == {""}
    assert (result.operation.state, result.operation.summary) == (OperationState.REVERTED, "ben wants it back")


async def test_what_has_failed_by_itself_is_turned_round_for_that(store: Store) -> None:
    operation, world = await create(store, SHIP, chain(3), KINDS), World(failing={"prod/web-2": CommandFailed("it said no", 1)})
    with pytest.raises(Killed):
        await run(store, operation.id, world, on_failure=back, chaos=KillAt(6 + 3))
    result = await run(store, operation.id, world, 2, on_failure=back, back="ben wants it back")
    assert result.operation.state is OperationState.REVERTED
    assert "it said no" in result.operation.summary


async def test_a_wish_without_a_way_back_ends_as_failed_and_does_nothing_more(store: Store) -> None:
    operation, world = await create(store, SHIP, chain(3), KINDS), World()
    with pytest.raises(Killed):
        await run(store, operation.id, world, chaos=KillAt(5))
    result = await run(store, operation.id, world, 2, back="ben wants it back")
    assert (result.operation.state, result.operation.summary) == (OperationState.FAILED, "ben wants it back")
    assert len(world.acts) == 1


async def test_a_failure_without_a_way_back_is_not_restored(store: Store) -> None:
    world = World(failing={"prod/web-1": CommandFailed("exit 1", 1)})
    operation = await create(store, SHIP, chain(2), KINDS)
    result = await run(store, operation.id, world)
    assert [step.outcome for step in result.steps] == [Outcome.FAILED, Outcome.SKIPPED]
    with pytest.raises(NotRestored, match=r"step 1 \(set-cell on prod/web-1\) failed: exit 1"):
        result.raise_unless_done()


async def test_a_failed_revert_goes_on_with_the_other_hosts_and_ends_as_failed(store: Store) -> None:
    async def only_once(operation: Operation, failed: Sequence[StepRow], world: World) -> list[Planned[World]] | None:
        world.failing = {"prod/web-1": Unreachable("gone")}
        return None if operation.plan else await back(operation, failed, world)

    world = World(failing={"prod/web-3": CommandFailed("exit 1", 1)})
    operation = await create(store, SHIP, chain(3), KINDS)
    result = await run(store, operation.id, world, on_failure=only_once)
    assert result.operation.state is OperationState.FAILED
    assert world.cells == {"prod/web-1": "new", "prod/web-2": ""}


async def test_endless_reverts_end(store: Store) -> None:
    async def again(operation: Operation, _failed: Sequence[StepRow], _world: World) -> list[Planned[World]]:
        return [Planned(0, SetCell(host="prod/web-1", after="new"), key=f"again-{operation.plan}")]

    operation = await create(store, SHIP, chain(1), KINDS)
    result = await run(store, operation.id, World(failing={"prod/web-1": Unreachable("gone")}), on_failure=again)
    assert (result.operation.state, result.operation.plan) == (OperationState.FAILED, 5)


async def test_the_budget_lets_hosts_fail_and_skips_their_later_steps(store: Store) -> None:
    world = World(failing={"prod/web-2": Unreachable("gone")})
    steps = [*chain(3, width=3), *(Planned(1, SetCell(host=f"prod/web-{n}", before="new", after="newer")) for n in (1, 2, 3))]
    operation = await create(store, SHIP, steps, KINDS)
    result = await run(store, operation.id, world, budget=1)
    assert result.operation.state is OperationState.DONE
    assert journal.host_outcomes(result.steps) == {"prod/web-1": Outcome.OK, "prod/web-2": Outcome.UNREACHABLE, "prod/web-3": Outcome.OK}
    assert "prod/web-2" in result.operation.summary


async def test_two_failed_hosts_are_more_than_a_budget_of_one(store: Store) -> None:
    world = World(failing={f"prod/web-{n}": Unreachable("gone") for n in (1, 2)})
    operation = await create(store, SHIP, chain(4), KINDS)
    result = await run(store, operation.id, world, budget=1)
    assert [step.outcome for step in result.steps] == [Outcome.UNREACHABLE, Outcome.UNREACHABLE, Outcome.SKIPPED, Outcome.SKIPPED]


async def test_an_unsure_end_is_observed(store: Store) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Unsure(SetCell):
        kind = "unsure"

        async def act(self, ports: World, here: Here) -> str:
            ports.cells[self.host] = self.after
            raise TimedOut("no answer within 5 s")

    operation = await create(store, SHIP, [Planned(0, Unsure(host="h", after="new"))], StepKinds([Unsure]))
    result = await run(store, operation.id, World(), kinds=StepKinds([Unsure]))
    assert result.operation.state is OperationState.DONE
    assert store.read_now(journal.history, operation.id)[-1].event is JournalEvent.RECOVERED


async def test_an_act_ends_at_its_deadline(store: Store, clock: FakeClock) -> None:
    world = World(hanging={"prod/web-1"})
    operation = await create(store, SHIP, [Planned(0, SetCell(host="prod/web-1", after="new", timeout_seconds=30))], KINDS)
    running = asyncio.create_task(run(store, operation.id, world))
    await clock.until_somebody_waits()
    clock.advance(29)
    await asyncio.sleep(0)
    assert not running.done()
    clock.advance(2)
    result = await asyncio.wait_for(running, 5)
    assert (result.steps[0].outcome, result.steps[0].evidence) == (Outcome.FAILED, "its time was up")


async def test_a_deadline_survives_a_restart(store: Store, clock: FakeClock) -> None:
    operation = await create(store, SHIP, chain(1), KINDS)
    lease = take(store, "prod/shop", operation.id)
    store.write_now(operations.begin, operation.id, lease.token, at=clock.now())
    store.write_now(journal.intent, operation.id, 1, lease.token, deadline=clock.now() + 300, at=clock.now())
    clock.advance(301)
    world = World()
    result = await run(store, operation.id, world, pid=2)
    assert (result.steps[0].outcome, result.steps[0].evidence, world.cells) == (Outcome.FAILED, "its deadline passed 1 s ago", {})


async def test_the_operations_deadline_counts_for_the_forward_plan_only(store: Store, clock: FakeClock) -> None:
    operation = await create(store, replace(SHIP, deadline=clock.now() - 1), chain(1), KINDS)
    world = World(cells={"prod/web-9": "new"})
    result = await run(store, operation.id, world, on_failure=back)
    assert result.operation.state is OperationState.REVERTED


async def test_the_first_interrupt_finishes_the_step_and_pauses(store: Store) -> None:
    stop, world = Stop(), World()

    @dataclass(frozen=True, kw_only=True)
    class Interrupted(SetCell):
        kind = "interrupted"

        async def act(self, ports: World, here: Here) -> str:
            stop.request("stopped by SIGINT")
            ports.cells[self.host] = self.after
            return ""

    kinds = StepKinds([SetCell, Interrupted])
    operation = await create(store, SHIP, [Planned(0, Interrupted(host="a", after="new")), Planned(1, SetCell(host="b", after="new"))], kinds)
    result = await run(store, operation.id, world, kinds=kinds, stop=stop)
    assert (result.operation.state, result.operation.summary, world.cells) == (OperationState.PAUSED, "stopped by SIGINT", {"a": "new"})
    with pytest.raises(Paused, match=f"manor resume {operation.id}"):
        result.raise_unless_done()
    assert (await run(store, operation.id, world, kinds=kinds, pid=2)).operation.state is OperationState.DONE


async def test_a_step_may_pause_the_operation_while_others_finish(store: Store) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Hold(SetCell):
        kind = "hold"

        async def act(self, ports: World, here: Here) -> str:
            raise Paused("fewer healthy than the minimum")

    kinds = StepKinds([SetCell, Hold])
    operation = await create(store, SHIP, [Planned(0, Hold(host="a", after="new")), Planned(0, SetCell(host="b", after="new"))], kinds)
    world = World()
    result = await run(store, operation.id, world, kinds=kinds)
    assert (result.operation.state, world.cells, result.steps[0].is_open) == (OperationState.PAUSED, {"b": "new"}, True)


async def test_an_unknown_kind_or_version_stops_with_a_diagnosis_before_anything_is_done(store: Store) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Newer(SetCell):
        version = 2

    operation = await create(store, SHIP, [Planned(0, SetCell(host="a", after="x")), Planned(1, Newer(host="b", after="x"))], StepKinds([SetCell, Newer]))
    world = World()
    result = await run(store, operation.id, world)
    assert (result.operation.state, world.cells) == (OperationState.PAUSED, {})
    assert "'set-cell' version 2, which this Manor does not know (it knows version 1)" in result.operation.summary
    unknown = await run(store, operation.id, world, kinds=StepKinds([]), pid=2)
    assert "which this Manor does not know" in unknown.operation.summary


async def test_steps_can_be_added_while_it_runs_and_a_decision_taken_twice_adds_nothing(store: Store) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Decide(SetCell):
        kind = "decide"

        async def act(self, ports: World, here: Here) -> str:
            for _ in range(2):
                await append(store, here.operation, [Planned(5, SetCell(host="b", after="new"), key="b")], kinds)
            return ""

    kinds = StepKinds([SetCell, Decide])
    operation = await create(store, SHIP, [Planned(0, Decide(host="a", after="new"))], kinds)
    result = await run(store, operation.id, World(), kinds=kinds)
    assert [(step.key, step.outcome) for step in result.steps] == [("1-decide", Outcome.OK), ("b", Outcome.OK)]
    with pytest.raises(ManorError, match="a key must mean one act"):
        await append(store, operation.id, [Planned(5, SetCell(host="c", after="new"), key="b")], kinds)


async def test_a_succeeded_executor_stops_before_it_acts(store: Store) -> None:
    world = World()

    @dataclass(frozen=True, kw_only=True)
    class Succeeded(SetCell):
        kind = "succeeded"

        async def act(self, ports: World, here: Here) -> str:
            take(store, "prod", "other", pid=2)
            return ""

    kinds = StepKinds([SetCell, Succeeded])
    operation = await create(store, SHIP, [Planned(0, Succeeded(host="a", after="new")), Planned(1, SetCell(host="b", after="new"))], kinds)
    with pytest.raises(FencedOff, match="token 1 was succeeded; now prod is held for operation other with token 2"):
        await run(store, operation.id, world, kinds=kinds)
    assert world.cells == {}
    assert (await standing(store, operation.id)).operation.state is OperationState.RUNNING


async def test_nothing_is_written_under_an_older_token(store: Store, clock: FakeClock) -> None:
    operation = await create(store, SHIP, chain(1), KINDS)
    old = take(store, "prod/shop", operation.id)
    store.write_now(operations.begin, operation.id, old.token, at=clock.now())
    new = take(store, "prod/shop", operation.id, 2)
    store.write_now(operations.begin, operation.id, new.token, at=clock.now())
    with pytest.raises(FencedOff):
        store.write_now(journal.done, operation.id, 1, old.token, Outcome.OK, "", at=clock.now())
    with pytest.raises(FencedOff):
        store.write_now(operations.begin, operation.id, old.token, at=clock.now())
    with pytest.raises(FencedOff):
        store.write_now(operations.end, operation.id, old.token, OperationState.DONE, "", at=clock.now())


async def test_the_environments_lease_covers_an_operation_of_a_service(store: Store) -> None:
    operation = await create(store, SHIP, chain(1), KINDS)
    assert (await run(store, operation.id, World(), name="prod")).operation.state is OperationState.DONE


async def test_a_plan_that_was_carried_out_is_found_until_something_else_happens(store: Store) -> None:
    operation = await create(store, SHIP, chain(1), KINDS)
    assert store.read_now(operations.carried_out, "prod", "cafe") is None
    await run(store, operation.id, World())
    found = store.read_now(operations.carried_out, "prod", "caf")
    assert store.read_now(operations.carried_out, "prod", "") is None
    assert found is not None
    assert found.id == operation.id
    store.clock.advance(1)  # type: ignore[attr-defined]
    other = await create(store, replace(SHIP, plan_hash="beef"), chain(1), KINDS)
    await run(store, other.id, World(), pid=2)
    assert store.read_now(operations.carried_out, "prod", "cafe") is None


async def test_what_was_interrupted_is_decided_about_first(store: Store, clock: FakeClock) -> None:
    stop = Stop()
    stop.request("stopped by SIGINT")
    operation = await create(store, SHIP, chain(1), KINDS)
    await run(store, operation.id, World(), stop=stop)
    store.read_now(operations.require_none_unfinished, "prod/crm")
    for name in ("prod", "prod/shop"):
        with pytest.raises(Paused, match=rf"\(ship prod/shop\) is paused: stopped by SIGINT; first `manor resume {operation.id}`"):
            store.read_now(operations.require_none_unfinished, name)


async def test_abandoned_operations_stay_so(store: Store, clock: FakeClock) -> None:
    operation = await create(store, SHIP, chain(1), KINDS)
    lease = take(store, "prod/shop")
    gone = store.write_now(operations.abandon, operation.id, lease.token, "bob", "wrong release", at=clock.now())
    assert (gone.state, gone.summary) == (OperationState.ABANDONED, "wrong release")
    with pytest.raises(UsageError, match="has ended: abandoned"):
        await run(store, operation.id, World(), pid=2)


async def test_secrets_are_never_journalled(store: Store) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Telling(SetCell):
        kind = "telling"
        words: tuple[Secret, ...] = ()

    with pytest.raises(UsageError, match=r"telling\.words: a secret can't be journalled"):
        await create(store, SHIP, [Planned(0, Telling(host="a", after="b", words=(Secret("hunter2"),)))], StepKinds([Telling]))
    assert store.read_now(operations.recent) == ()


async def test_evidence_comes_back_as_the_dataclass_that_the_act_returned(store: Store) -> None:
    @dataclass(frozen=True)
    class Drained:
        seconds: float
        in_flight: tuple[int, ...]

    @dataclass(frozen=True, kw_only=True)
    class Drain(SetCell):
        kind = "drain"

        async def act(self, ports: World, here: Here) -> Drained:  # type: ignore[override]
            return Drained(1.5, (12, 0))

    operation = await create(store, SHIP, [Planned(0, Drain(host="a", after="b"))], StepKinds([Drain]))
    result = await run(store, operation.id, World(), kinds=StepKinds([Drain]))
    assert decode_evidence(result.steps[0], Drained) == Drained(1.5, (12, 0))


def test_two_kinds_of_one_name_are_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Same(SetCell):
        pass

    with pytest.raises(UsageError, match="two kinds of step"):
        StepKinds([SetCell, Same])


async def test_the_renewed_lease_is_the_operations(store: Store, clock: FakeClock) -> None:
    operation = await create(store, SHIP, chain(2), KINDS)
    lease = take(store, "prod/shop", operation.id)
    store.write_now(operations.begin, operation.id, lease.token, at=clock.now())
    clock.advance(50)
    store.write_now(journal.intent, operation.id, 1, lease.token, deadline=clock.now() + 300, at=clock.now())
    (kept,) = store.read_now(leases.standing)
    assert (kept.renewed_at, kept.expires_at, kept.holder) == (clock.now(), clock.now() + 60, holder(1))


async def test_a_pause_puts_deadlines_off_and_a_crash_does_not(store: Store, clock: FakeClock) -> None:
    operation = await create(store, replace(SHIP, deadline=clock.now() + 300), chain(1), KINDS)
    lease = take(store, operation.lease, operation.id, 1)
    store.write_now(operations.begin, operation.id, lease.token, at=clock.now())
    store.write_now(journal.intent, operation.id, 1, lease.token, deadline=clock.now() + 100, at=clock.now())
    began = clock.now()
    store.write_now(operations.begin, operation.id, lease.token, at=clock.now() + 50)
    assert store.read_now(operations.get, operation.id).deadline == began + 300
    store.write_now(operations.end, operation.id, lease.token, OperationState.PAUSED, "why", at=began + 60)
    store.write_now(operations.begin, operation.id, lease.token, at=began + 5060)
    assert store.read_now(operations.get, operation.id).deadline == began + 5300
    assert store.read_now(journal.get, operation.id, 1).deadline == began + 5100
    assert [pause.seconds for pause in store.read_now(operations.pauses, operation.id)] == [5000]
    store.write_now(operations.begin, operation.id, lease.token, at=began + 5070)
    assert store.read_now(operations.get, operation.id).deadline == began + 5300
