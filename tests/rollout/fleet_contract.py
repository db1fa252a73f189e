"""What every fleet does, the real one and the model that stands in for it in most tests of rollouts; each one's own test module gives the class a stage."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace

import pytest

from manor.errors import ApplyFailed, FencedOff
from manor.estate.topology import TrafficState
from manor.integrations.proxies.base import ServerView
from manor.integrations.supervisors.base import ProgramStatus
from manor.operations.step import Here
from manor.rollout.fleet import Fleet, SlotRef
from manor.rollout.views import find, is_serving

READY, DRAIN, MAINT = TrafficState.READY, TrafficState.DRAIN, TrafficState.MAINT
A, B = SlotRef("echo", "web-1", "a"), SlotRef("echo", "web-1", "b")
OTHER = SlotRef("echo", "web-2", "a")
SERVERS = ("web-1-a", "web-1-b", "web-2-a", "web-2-b")
PATIENCE = 20.0


class Stage(ABC):
    """A fleet of one service on two hosts behind one balancer that counts: nothing runs, nothing takes traffic, nothing is remembered to."""

    fleet: Fleet
    here: Here
    """A step of an operation that runs."""
    good: str
    newer: str
    sick: str
    """A release whose health path answers 500."""
    dying: str
    """A release whose program ends by itself at once."""
    expiry_seconds: float
    """So long nobody may go on before guards act."""

    @abstractmethod
    async def begin_another(self) -> Here:
        """Return a step of another operation of the same holder."""

    @abstractmethod
    async def set_by_hand(self, server: str, state: TrafficState) -> None:
        """Do what a person does at the balancer itself."""

    @abstractmethod
    async def leave_alone(self, seconds: float) -> None:
        """Let time pass in which nobody goes on."""

    @abstractmethod
    def request(self) -> AbstractAsyncContextManager[object]:
        """Have a request that takes seconds in flight to whatever takes traffic; it may end when the body does."""

    @abstractmethod
    async def kill_supervisor(self, host: str) -> None:
        """End a host's supervisor, and nothing that it started."""

    @abstractmethod
    async def standing(self, release: str) -> str:
        """Return what is remembered of a release: certified, burned, or nothing."""

    async def view(self, slot: SlotRef) -> ServerView:
        """Return how the balancer sees a slot."""
        (balancer,) = self.fleet.balancers
        return find(await self.fleet.traffic(balancer, "echo"), slot.server)

    async def until(self, holds: Callable[[], Awaitable[object]], what: str) -> None:
        """Wait until something holds, at most so long."""
        limit = self.fleet.now() + PATIENCE
        while not await holds():
            assert self.fleet.now() < limit, f"{what}: not within {PATIENCE:g} s"
            await self.fleet.sleep(0.1)

    async def runs(self, slot: SlotRef, release: str) -> None:
        """Have a release run in a slot, and answer."""
        await self.fleet.place(slot, release, self.here)
        await self.fleet.start(slot, self.here)

        async def passes() -> bool:
            return (await self.fleet.check_program(slot)).passed

        await self.until(passes, f"{slot.server} answers")

    async def serves(self, slot: SlotRef, release: str) -> None:
        """Have a release serve in a slot, as after a rollout."""
        await self.runs(slot, release)
        await self.fleet.set_traffic("echo", {slot.server: DRAIN}, self.here)
        await self.until_healthy(slot)
        await self.fleet.set_traffic("echo", {slot.server: READY}, self.here)
        await self.fleet.set_active("echo", slot.host, slot.slot, self.here)

    async def until_healthy(self, slot: SlotRef) -> None:
        """Wait until the balancer's own checks pass."""

        async def is_healthy() -> bool:
            return (await self.view(slot)).is_healthy is True

        await self.until(is_healthy, f"the balancer finds {slot.server} healthy")

    async def until_state(self, slot: SlotRef, state: TrafficState) -> None:
        """Wait until the balancer treats a slot like this."""

        async def is_so() -> bool:
            return (await self.view(slot)).traffic is state

        await self.until(is_so, f"{slot.server} is {state}")

    async def status(self, slot: SlotRef) -> ProgramStatus:
        """Return how a slot's program stands."""
        found = await self.fleet.program(slot)
        assert found is not None
        return found.status

    async def clear(self) -> None:
        """Be as at the beginning, whatever was before."""
        fleet = self.fleet
        await fleet.set_maintenance("echo", self.here, on=False)
        for slot in (A, B, OTHER, SlotRef("echo", "web-2", "b")):
            await fleet.unguard(slot, self.here)
            await fleet.set_active("echo", slot.host, None, self.here)
        await fleet.set_traffic("echo", dict.fromkeys(SERVERS, MAINT), self.here)
        for slot in (A, B, OTHER, SlotRef("echo", "web-2", "b")):
            await fleet.stop(slot, self.here)


class FleetContract:
    """The contract. A subclass has a fixture `stage`."""

    async def test_hosts_refuse_who_was_succeeded(self, stage: Stage) -> None:
        await stage.fleet.fence((A, OTHER), stage.here)
        with pytest.raises(FencedOff):
            await stage.fleet.fence((A,), replace(stage.here, token=stage.here.token - 1))

    async def test_nothing_serves_at_the_beginning(self, stage: Stage) -> None:
        (balancer,) = stage.fleet.balancers
        views = await stage.fleet.traffic(balancer, "echo")
        assert [view.name for view in views] == [*SERVERS]
        assert {view.traffic for view in views} == {MAINT}
        assert {is_serving(view) for view in views} == {False}
        assert {view.in_flight for view in views} == {0}
        assert await stage.status(A) is ProgramStatus.STOPPED
        assert not await stage.fleet.lives(A)
        assert await stage.fleet.active("echo", "web-1") is None
        assert not await stage.fleet.is_remembered(A)
        assert await stage.fleet.held("echo") == {}
        assert await stage.fleet.preflight((A, OTHER), stage.good) == ()

    async def test_traffic_is_set_and_read_back_of_what_was_named_alone(self, stage: Stage) -> None:
        for state in (DRAIN, READY, DRAIN, MAINT):
            await stage.fleet.set_traffic("echo", {A.server: state}, stage.here)
            assert {view.name: view.traffic for view in await stage.fleet.traffic(stage.fleet.balancers[0], "echo")} == {
                **dict.fromkeys(SERVERS, MAINT),
                A.server: state,
            }

    async def test_several_servers_change_at_once(self, stage: Stage) -> None:
        await stage.fleet.set_traffic("echo", {A.server: READY, OTHER.server: DRAIN}, stage.here)
        assert ((await stage.view(A)).traffic, (await stage.view(OTHER)).traffic) == (READY, DRAIN)

    async def test_what_a_slot_holds_is_what_was_placed_last(self, stage: Stage) -> None:
        for release in (stage.good, stage.newer, stage.newer):
            await stage.fleet.place(A, release, stage.here)
            assert await stage.fleet.placed(A) == release
        assert await stage.status(A) is ProgramStatus.STOPPED

    async def test_a_program_runs_from_its_start_to_its_stop(self, stage: Stage) -> None:
        await stage.runs(A, stage.good)
        before = await stage.fleet.program(A)
        assert before is not None
        assert (before.status, before.name, await stage.fleet.lives(A)) == (ProgramStatus.RUNNING, "echo-a", True)
        assert before.pid
        assert before.started_at is not None
        assert before.started_at <= stage.fleet.now()
        await stage.fleet.start(A, stage.here)
        assert await stage.fleet.program(A) == before
        for _ in range(2):
            await stage.fleet.stop(A, stage.here)
            assert (await stage.status(A), await stage.fleet.lives(A)) == (ProgramStatus.STOPPED, False)
        assert await stage.fleet.placed(A) == stage.good

    async def test_a_slot_that_does_not_run_does_not_pass(self, stage: Stage) -> None:
        await stage.fleet.place(A, stage.good, stage.here)
        for check in (stage.fleet.check, stage.fleet.check_program):
            found = await check(A)
            assert not found.passed
            assert found.detail

    async def test_what_answers_badly_does_not_pass_and_is_not_found_healthy(self, stage: Stage) -> None:
        await stage.fleet.place(A, stage.sick, stage.here)
        await stage.fleet.start(A, stage.here)

        async def is_told() -> bool:
            return (await stage.fleet.check_program(A)).detail.endswith("/healthz answers 500, not 200")

        await stage.until(is_told, "the program answers 500")
        await stage.fleet.set_traffic("echo", {A.server: DRAIN}, stage.here)
        await stage.fleet.sleep(2.0)
        assert not (await stage.fleet.check(A)).passed
        assert (await stage.view(A)).is_healthy is not True

    async def test_a_program_that_ends_by_itself_has_failed_and_is_tried_again_until_it_is_stopped(self, stage: Stage) -> None:
        await stage.fleet.place(A, stage.dying, stage.here)
        with suppress(ApplyFailed):  # a supervisor may say so at once, or later
            await stage.fleet.start(A, stage.here)

        async def has_failed() -> bool:
            return await stage.status(A) is ProgramStatus.FAILED

        async def lives() -> bool:
            return await stage.fleet.lives(A)

        await stage.until(has_failed, "it is seen to have ended")
        await stage.until(lives, "its supervisor tries it again")
        await stage.until(has_failed, "it has ended again")
        assert not (await stage.fleet.check_program(A)).passed
        await stage.fleet.stop(A, stage.here)
        assert (await stage.status(A), await stage.fleet.lives(A)) == (ProgramStatus.STOPPED, False)
        await stage.runs(A, stage.good)
        assert await stage.status(A) is ProgramStatus.RUNNING

    async def test_a_program_outlives_its_supervisor_and_is_known_to_the_next_one(self, stage: Stage) -> None:
        await stage.runs(A, stage.good)
        await stage.kill_supervisor("web-1")
        assert (await stage.fleet.check_program(A)).passed
        assert await stage.fleet.lives(A)
        await stage.kill_supervisor("web-1")
        assert await stage.status(A) is ProgramStatus.RUNNING
        assert (await stage.fleet.check_program(A)).passed
        await stage.kill_supervisor("web-1")
        assert await stage.fleet.preflight((A, OTHER), stage.good) == ()
        await stage.kill_supervisor("web-1")
        await stage.fleet.stop(A, stage.here)
        assert (await stage.status(A), await stage.fleet.lives(A)) == (ProgramStatus.STOPPED, False)
        assert not (await stage.fleet.check_program(A)).passed
        assert await stage.fleet.disturbed(stage.fleet.now() - 1.0) == (), "its tiers went on"

    async def test_a_balancer_checks_what_is_drained_and_not_what_is_in_maintenance(self, stage: Stage) -> None:
        await stage.runs(A, stage.good)
        await stage.fleet.sleep(1.0)
        assert (await stage.view(A)).is_healthy is not True
        await stage.fleet.set_traffic("echo", {A.server: DRAIN}, stage.here)
        await stage.until_healthy(A)
        await stage.fleet.set_traffic("echo", {A.server: READY}, stage.here)
        assert is_serving(await stage.view(A))
        await stage.fleet.set_traffic("echo", {A.server: MAINT}, stage.here)
        assert (await stage.view(A)).is_healthy is not True

    async def test_what_is_in_flight_is_counted_until_it_ends_drained_or_not(self, stage: Stage) -> None:
        async def is_idle() -> bool:
            return (await stage.view(A)).in_flight == 0

        await stage.serves(A, stage.good)
        async with stage.request():
            assert ((await stage.view(A)).in_flight or 0) > 0
            await stage.fleet.set_traffic("echo", {A.server: DRAIN}, stage.here)
            assert ((await stage.view(A)).in_flight or 0) > 0
        await stage.until(is_idle, "what was in flight ended")
        assert (await stage.view(A)).traffic is DRAIN

    async def test_the_active_slot_is_remembered_a_host(self, stage: Stage) -> None:
        await stage.fleet.set_active("echo", "web-1", "a", stage.here)
        assert (await stage.fleet.active("echo", "web-1"), await stage.fleet.active("echo", "web-2")) == ("a", None)
        await stage.fleet.set_active("echo", "web-1", "b", stage.here)
        assert await stage.fleet.active("echo", "web-1") == "b"
        await stage.fleet.set_active("echo", "web-1", None, stage.here)
        assert await stage.fleet.active("echo", "web-1") is None

    async def test_a_slot_is_remembered_to_serve_when_it_is_active_and_has_traffic(self, stage: Stage) -> None:
        await stage.fleet.set_active("echo", "web-1", "a", stage.here)
        assert not await stage.fleet.is_remembered(A)
        await stage.fleet.set_traffic("echo", {A.server: READY, B.server: READY}, stage.here)
        assert (await stage.fleet.is_remembered(A), await stage.fleet.is_remembered(B)) == (True, False)
        await stage.fleet.set_traffic("echo", {A.server: DRAIN}, stage.here)
        assert not await stage.fleet.is_remembered(A)

    async def test_what_a_person_took_out_is_held_and_in_the_way_of_a_rollout(self, stage: Stage) -> None:
        await stage.serves(A, stage.good)
        assert await stage.fleet.held("echo") == {}
        for state in (DRAIN, MAINT):
            await stage.set_by_hand(A.server, state)
            held = await stage.fleet.held("echo")
            assert list(held) == [A.server]
            assert "has web-1-a out of traffic" in held[A.server]
            assert held[A.server] in await stage.fleet.preflight((A,), stage.newer)
        await stage.fleet.set_traffic("echo", {B.server: DRAIN}, stage.here)
        assert ((await stage.view(A)).traffic, await stage.fleet.is_remembered(A)) == (MAINT, True)
        await stage.set_by_hand(A.server, READY)
        assert await stage.fleet.held("echo") == {}

    async def test_what_a_rollout_took_out_is_not_held(self, stage: Stage) -> None:
        await stage.serves(A, stage.good)
        for state in (DRAIN, MAINT):
            await stage.fleet.set_traffic("echo", {A.server: state}, stage.here)
            assert await stage.fleet.held("echo") == {}

    async def test_a_guard_returns_what_nobody_goes_on_with(self, stage: Stage) -> None:
        await stage.serves(A, stage.good)
        assert await stage.fleet.guard(A, (), stage.here) == ""
        await stage.fleet.set_traffic("echo", {A.server: DRAIN}, stage.here)
        await stage.leave_alone(stage.expiry_seconds)
        await stage.until_state(A, READY)
        assert await stage.fleet.unguard(A, stage.here)
        assert await stage.fleet.is_remembered(A), "what a guard returned is learned of"
        assert not await stage.fleet.unguard(A, await stage.begin_another())

    async def test_whoever_goes_on_keeps_a_guard_from_acting(self, stage: Stage) -> None:
        await stage.serves(A, stage.good)
        await stage.fleet.guard(A, (), stage.here)
        await stage.fleet.set_traffic("echo", {A.server: DRAIN}, stage.here)
        for _ in range(8):
            await stage.fleet.sleep(stage.expiry_seconds / 4)
        assert (await stage.view(A)).traffic is DRAIN
        assert not await stage.fleet.unguard(A, stage.here)
        await stage.leave_alone(stage.expiry_seconds)
        assert (await stage.view(A)).traffic is DRAIN, "nobody guards it any more"

    async def test_a_guard_returns_nothing_while_what_replaced_it_serves(self, stage: Stage) -> None:
        await stage.serves(A, stage.good)
        await stage.runs(B, stage.newer)
        await stage.fleet.set_traffic("echo", {B.server: DRAIN}, stage.here)
        await stage.until_healthy(B)
        await stage.fleet.guard(A, (B,), stage.here)
        await stage.fleet.set_traffic("echo", {B.server: READY}, stage.here)
        await stage.fleet.set_traffic("echo", {A.server: DRAIN}, stage.here)
        await stage.leave_alone(stage.expiry_seconds)
        assert ((await stage.view(A)).traffic, (await stage.view(B)).traffic) == (DRAIN, READY)
        assert not await stage.fleet.unguard(A, stage.here)

    async def test_a_guard_returns_nothing_that_does_not_work(self, stage: Stage) -> None:
        await stage.serves(A, stage.good)
        await stage.fleet.guard(A, (), stage.here)
        await stage.fleet.set_traffic("echo", {A.server: DRAIN}, stage.here)
        await stage.fleet.stop(A, stage.here)
        await stage.leave_alone(stage.expiry_seconds)
        assert (await stage.view(A)).traffic is DRAIN
        assert not await stage.fleet.unguard(A, stage.here)

    async def test_the_maintenance_page_is_shown_and_ended(self, stage: Stage) -> None:
        (balancer,) = stage.fleet.balancers
        for on in (True, False):
            assert await stage.fleet.page_differs("echo", on=on) == balancer.host
            await stage.fleet.set_maintenance("echo", stage.here, on=on)
            await stage.fleet.set_maintenance("echo", stage.here, on=on)
            assert await stage.fleet.page_differs("echo", on=on) == ""
            assert await stage.fleet.page_differs("echo", on=not on) == balancer.host

    async def test_a_certified_release_is_not_burned_and_a_burned_one_may_be_certified(self, stage: Stage) -> None:
        await stage.fleet.burn("echo", stage.dying, "it ended", stage.here)
        assert await stage.standing(stage.dying) == "burned"
        assert await stage.fleet.standing("echo", stage.dying, stage.here) == "burned"
        await stage.fleet.certify("echo", stage.dying, stage.here)
        await stage.fleet.certify("echo", stage.dying, stage.here)
        await stage.fleet.burn("echo", stage.dying, "it ended", stage.here)
        assert await stage.standing(stage.dying) == "certified"

    async def test_an_operation_without_progress_progressed_when_it_began(self, stage: Stage) -> None:
        assert stage.fleet.now() - PATIENCE <= await stage.fleet.progressed_at(stage.here) <= stage.fleet.now()

    async def test_time_passes_and_tiers_that_go_on_are_not_disturbed(self, stage: Stage) -> None:
        before = stage.fleet.now()
        await stage.fleet.sleep(0.2)
        assert stage.fleet.now() >= before + 0.2
        assert await stage.fleet.disturbed(before) == ()

    async def test_only_one_is_alone_at_a_time(self, stage: Stage) -> None:
        async with stage.fleet.alone():
            second = asyncio.ensure_future(self._be_alone(stage))
            await asyncio.sleep(0)
            assert not second.done()
        await second

    async def _be_alone(self, stage: Stage) -> None:
        async with stage.fleet.alone():
            pass

    @pytest.mark.parametrize("word", ["warming", "draining"])
    async def test_a_phase_is_only_for_people(self, stage: Stage, word: str) -> None:
        await stage.fleet.set_phase(word, stage.here)
