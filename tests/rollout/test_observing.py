"""What each step of a rollout finds when its executor was killed right after its act, or within it (docs/operations.md)."""

from __future__ import annotations

import pytest

from manor.errors import ManorError
from manor.execution.values import Completed, FileAct, PutFile, PutLink, Remove
from manor.operations.chaos import Point
from manor.operations.step import Condition
from manor.rollout.framing import BurnRelease, Certify
from manor.rollout.slots import PlaceRelease, StartSlot
from manor.rollout.stopping import StopSlot
from manor.state import journal
from manor.state.words import JournalEvent
from manor.workflows.removing import ForgetInstance
from tests.rollout.cases import QUICK
from tests.rollout.running import InlineStore, Killed, Killer, begin, require_accepted
from tests.workflows.test_untouchable import ECHO_B, Stage, stage  # noqa: F401 - a fixture

CASE_OF = {one.name: one for one in QUICK}
FOUND_DONE = [("second", "place"), ("second", "start"), ("second", "admit"), ("second", "stop"), ("second", "certify"), ("500s", "burn")]
DONE_AGAIN = [
    ("second", "preflight"),
    ("second", "start-probe"),
    ("second", "warm"),
    ("second", "drain"),
    ("second", "stop-probe"),
    ("second", "bake"),
    ("exits_after_admit", "withhold"),
]


class KillAfter(Killer):
    """Kills after the act of the first step of a kind."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.seq = kind, 0

    def __call__(self, seq: int, kind: str, point: Point) -> None:
        super().__call__(seq, kind, point)
        if (kind, point) == (self.kind, Point.AFTER_ACT):
            self.seq, self.is_dead = seq, True
            raise Killed


async def events_after(name: str, kind: str, store: InlineStore) -> list[JournalEvent]:
    """Return the journal of the step of a kind whose executor was killed after its act."""
    run, killer = await begin(CASE_OF[name], store), KillAfter(kind)
    assert await run.execute(killer) is None
    require_accepted(run, await run.killed_at([]), f"after {kind}")
    return [line.event for line in store.read_now(journal.history, run.operation) if line.seq == killer.seq]


@pytest.mark.parametrize(("name", "kind"), [*FOUND_DONE, ("interrupt", "maintenance")])
async def test_what_was_done_is_found_done(rollouts: InlineStore, name: str, kind: str) -> None:
    assert await events_after(name, kind, rollouts) == [JournalEvent.INTENT, JournalEvent.RECOVERED]


@pytest.mark.parametrize(("name", "kind"), DONE_AGAIN)
async def test_what_has_to_be_seen_or_waited_for_in_full_is_done_again(rollouts: InlineStore, name: str, kind: str) -> None:
    assert await events_after(name, kind, rollouts) == [JournalEvent.INTENT, JournalEvent.INTENT, JournalEvent.DONE]


async def killed_within(stage: Stage, step: PlaceRelease, acts: int) -> bool:  # noqa: F811
    """Carry a step out until so many file acts were done; tell whether it was killed."""
    files, left = stage.toy.runner.files, iter(range(acts))
    real = files.carry_out

    def killing(act: FileAct) -> None:
        if next(left, None) is None:
            raise Killed
        real(act)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "carry_out", killing)
        try:
            await step.act(stage.fleet, stage.here)
        except Killed:
            return True
    return False


async def holds(stage: Stage, step: PlaceRelease | StartSlot | StopSlot | Certify | BurnRelease) -> Condition:  # noqa: F811
    return (await step.observe(stage.fleet, stage.here)).condition


async def test_placing_that_was_killed_anywhere_ends_whole(stage: Stage) -> None:  # noqa: F811
    """After any of its acts: as before, done, or half placed and emptied."""
    step, seen, acts = PlaceRelease(*ECHO_B, stage.release), [], 0
    while await killed_within(stage, step, acts):
        found = await holds(stage, step)
        seen.append(found)
        if found is Condition.NEITHER:
            assert await step.compensate(stage.fleet, stage.here) == "echo/b is empty again"
        assert await holds(stage, step) is Condition.PRE
        await stage.fleet.empty(step.ref, stage.here)
        acts += 1
    assert await holds(stage, step) is Condition.POST
    assert list(dict.fromkeys(seen)) == [Condition.PRE, Condition.NEITHER]


async def test_a_link_to_a_third_release_is_neither(stage: Stage) -> None:  # noqa: F811
    step = PlaceRelease(*ECHO_B, stage.release)
    link = stage.toy.host.layout.slot("echo", "b")
    third = stage.toy.host.layout.release("echo", "fedcba987654")
    stage.toy.runner.files.carry_out(PutLink(link, third))
    found = await step.observe(stage.fleet, stage.here)
    assert found.condition is Condition.NEITHER
    assert found.detail == f"{link} leads to {third}, which is neither {stage.release} nor what is remembered"
    await step.compensate(stage.fleet, stage.here)
    assert await holds(stage, step) is Condition.PRE


async def test_a_slot_is_not_emptied_under_a_running_program(stage: Stage) -> None:  # noqa: F811
    stage.toy.runner.reply("status", Completed(0, b'{"echo-a": "stopped", "echo-b": "running"}'))
    with pytest.raises(ManorError, match="web-1: echo-b is running, not stopped; its slot was not emptied"):
        await PlaceRelease(*ECHO_B, stage.release).compensate(stage.fleet, stage.here)


async def test_what_a_restart_of_the_host_would_undo_is_not_done(stage: Stage) -> None:  # noqa: F811
    """A person who starts or stops a program by hand leaves the file that says what is to run as it was."""
    start, stop, wanted = StartSlot(*ECHO_B, stage.release), StopSlot(*ECHO_B, stage.release), stage.toy.host.layout.slot_wanted("echo", "b")
    stage.toy.runner.reply("servers", Completed(0, b"maint"))
    assert await holds(stage, stop) is Condition.POST
    stage.toy.runner.files.carry_out(PutFile(wanted, b""))
    assert await holds(stage, stop) is Condition.PRE
    stage.toy.runner.reply("status", Completed(0, b'{"echo-a": "stopped", "echo-b": "running"}'))
    assert await holds(stage, start) is Condition.POST
    stage.toy.runner.files.carry_out(Remove(wanted))
    assert await holds(stage, start) is Condition.PRE


async def test_a_standing_is_this_operations_own(stage: Stage) -> None:  # noqa: F811
    certify, burn = Certify("echo", stage.release), BurnRelease("echo", stage.release, "why")
    assert (await holds(stage, certify), await holds(stage, burn)) == (Condition.PRE, Condition.PRE)
    await burn.act(stage.fleet, stage.here)
    assert (await holds(stage, certify), await holds(stage, burn)) == (Condition.PRE, Condition.POST)
    await certify.act(stage.fleet, stage.here)
    assert (await holds(stage, certify), await holds(stage, burn)) == (Condition.POST, Condition.PRE)


async def test_an_instance_is_forgotten_when_neither_files_nor_rows_are_left(stage: Stage) -> None:  # noqa: F811
    step = ForgetInstance(*ECHO_B, stage.release)
    await stage.fleet.place(PlaceRelease(*ECHO_B, stage.release).ref, stage.release, stage.here)
    assert (await step.observe(stage.fleet, stage.here)).condition is Condition.PRE
    await step.act(stage.fleet, stage.here)
    assert (await step.observe(stage.fleet, stage.here)).condition is Condition.POST
