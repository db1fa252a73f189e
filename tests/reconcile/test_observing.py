"""What each step of an apply finds when its executor was killed within it: done, not begun, or a mixture that is taken back (docs/operations.md)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from manor.errors import FencedOff
from manor.execution.values import Act, Completed, FileAct, HostPath, PutFile
from manor.operations.engine import execute
from manor.operations.planning import create
from manor.operations.step import Condition, Here, Planned, Step
from manor.reconcile.site import Site
from manor.reconcile.steps import FenceHost, PrepareHost
from manor.reconcile.supervising import CheckSupervisor, Supervise
from manor.reconcile.tiers import ChangeTier, CheckTier, ConfirmTier, TellTier, VerifyTier
from manor.state import journal
from manor.state.operations import NewOperation
from manor.state.words import JournalEvent, OperationState
from tests.operations.model import take
from tests.reconcile.test_apply import PIDS, STEPS, applied
from tests.reconcile.toys import ROOT, Toy


def here(token: int = 99) -> Here:
    return Here("op", 1, "op/1", token, 1, 2_000_000.0, lambda text: None)


async def holds(toy: Toy, step: Step[Site]) -> Condition:
    """Return which condition of a step holds."""
    return (await step.observe(toy.site, here())).condition


STEPS_OF: dict[str, Callable[[Toy], Step[Site]]] = {
    "fence": lambda _: FenceHost("web-1"),
    "prepare": lambda _: PrepareHost("web-1"),
    "change": lambda toy: ChangeTier("web-1", toy.key),
    "supervise": lambda _: Supervise("web-1"),
    "tell": lambda toy: TellTier("web-1", toy.key),
}
"""The kinds that tell whether they were done."""


def undo(toy: Toy, kind: str) -> None:
    """Have what a kind left be otherwise."""
    host, files = toy.host, toy.runner.files
    match kind:
        case "fence":
            files.carry_out(PutFile(host.layout.token("prod"), b"98\n"))
        case "prepare":
            files.carry_out(PutFile(host.base[0].path, b"another's"))
        case "change":
            files.carry_out(PutFile(host.tiers[0].files[0].path, b"another's"))
        case "supervise":
            files.carry_out(PutFile(host.layout.loaded("supervisor"), json.dumps({}).encode()))
        case "tell":
            toy.traffic = dict.fromkeys(("web-1-a", "web-1-b"), "ready")


@pytest.mark.parametrize("kind", STEPS_OF)
async def test_a_kind_knows_what_it_has_done(toy: Toy, kind: str) -> None:
    await applied(toy)
    toy.text = "new"
    step = STEPS_OF[kind](toy)
    assert await holds(toy, step) is (Condition.POST if kind == "supervise" else Condition.PRE), "the supervisor has nothing new to take over"
    await step.act(toy.site, here())
    assert await holds(toy, step) is Condition.POST
    undo(toy, kind)
    assert await holds(toy, step) is not Condition.POST


@pytest.mark.parametrize("kind", STEPS_OF)
async def test_to_look_changes_nothing(toy: Toy, kind: str) -> None:
    await applied(toy)
    before = dict(toy.runner.files.entries)
    await holds(toy, STEPS_OF[kind](toy))
    assert toy.runner.files.entries == before


@pytest.mark.parametrize("kind", [CheckTier, VerifyTier, ConfirmTier])
async def test_what_only_looks_is_asked_again(toy: Toy, kind: Any) -> None:
    await applied(toy)
    assert await holds(toy, kind("web-1", toy.key)) is Condition.PRE
    assert await holds(toy, CheckSupervisor("web-1")) is Condition.PRE


async def test_a_newer_token_stops_a_look_at_the_fence(toy: Toy) -> None:
    await toy.site.fence("web-1", 100)
    with pytest.raises(FencedOff):
        await holds(toy, FenceHost("web-1"))


class Killed(BaseException):
    """The executor was killed: nothing of it acts after this."""


def kill_after(toy: Toy, patch: pytest.MonkeyPatch, when: Callable[[FileAct], bool]) -> None:
    """Kill whoever has just carried out an act."""
    real = toy.runner.files.carry_out

    def killing(act: FileAct) -> None:
        real(act)
        if when(act):
            raise Killed

    patch.setattr(toy.runner.files, "carry_out", killing)


async def begun(toy: Toy) -> str:
    """Have old files with one more beside them, and an operation that changes the tier."""
    await applied(toy)
    toy.runner.files.carry_out(PutFile(own(toy, "beside.conf"), b"old, too"))
    toy.text = "new"
    return (await create(toy.store, NewOperation("apply", "prod"), [Planned(0, ChangeTier("web-1", toy.key))], STEPS)).id


def own(toy: Toy, name: str) -> HostPath:
    return toy.host.tiers[0].node.folders.etc / name


async def go_on(toy: Toy, operation: str) -> tuple[OperationState, str]:
    """Carry it out, or go on with it, as another process."""
    lease = take(toy.store, "prod", operation, next(PIDS))
    result = await execute(toy.store, operation, toy.site, STEPS, lease)
    return result.operation.state, result.operation.summary


async def killed(toy: Toy, operation: str, when: Callable[[FileAct], bool]) -> None:
    """Carry it out until an act was done."""
    with pytest.MonkeyPatch.context() as patch:
        kill_after(toy, patch, when)
        with pytest.raises(Killed):
            await go_on(toy, operation)


def events(toy: Toy, operation: str) -> list[JournalEvent]:
    return [line.event for line in toy.store.read_now(journal.history, operation)]


def is_new_file(act: FileAct) -> bool:
    return isinstance(act, PutFile) and act.path == ROOT / "etc/0-web-nginx/toy.conf" and act.content == b"new"


async def test_a_mixture_of_old_and_new_files_is_taken_back_and_done_again(toy: Toy) -> None:
    operation = await begun(toy)
    await killed(toy, operation, is_new_file)
    acts = len(toy.runner.acts)
    assert (await go_on(toy, operation))[0] is OperationState.DONE
    assert events(toy, operation) == [JournalEvent.INTENT, JournalEvent.COMPENSATED, JournalEvent.INTENT, JournalEvent.DONE]
    assert toy.runner.files.listing(own(toy, "")) == ("toy.conf",)
    assert toy.config == b"new"
    assert sum(act.startswith("reload") for act in toy.runner.shown[acts:]) == 1


async def test_taken_back_are_exactly_the_old_files_and_a_process_that_was_not_told_is_left_alone(toy: Toy) -> None:
    operation = await begun(toy)
    await killed(toy, operation, is_new_file)
    step, acts = ChangeTier("web-1", toy.key), len(toy.runner.acts)
    at = Here(operation, 1, f"{operation}/1", 99, 1, 2_000_000.0, lambda text: None)
    assert (await step.observe(toy.site, at)).condition is Condition.NEITHER
    assert await step.compensate(toy.site, at) == "0-web-nginx: the old files are back"
    assert toy.runner.files.read([own(toy, "toy.conf"), own(toy, "beside.conf")]) == {own(toy, "toy.conf"): b"old", own(toy, "beside.conf"): b"old, too"}
    assert "reload" not in " ".join(toy.runner.shown[acts:])
    assert (await step.observe(toy.site, at)).condition is Condition.PRE


async def test_taken_back_are_state_files_too(toy: Toy) -> None:
    operation, state = await begun(toy), toy.host.tiers[0].node.folders.state / "echo"
    toy.runner.files.carry_out(PutFile(state, b"names the old port"))
    await killed(toy, operation, is_new_file)
    assert toy.runner.files.read([state]) != {state: b"names the old port"}
    await ChangeTier("web-1", toy.key).compensate(toy.site, Here(operation, 1, f"{operation}/1", 99, 1, 2_000_000.0, lambda text: None))
    assert toy.runner.files.read([state]) == {state: b"names the old port"}


async def test_killed_while_old_files_are_put_back_the_process_takes_them_over(toy: Toy) -> None:
    """It was told of the new ones before, and may work by them."""
    operation = await begun(toy)
    toy.runner.reply("loaded", Completed(0, b"still works by the old files"))
    await killed(toy, operation, lambda act: isinstance(act, PutFile) and act.path == own(toy, "beside.conf"))
    step, acts = ChangeTier("web-1", toy.key), len(toy.runner.acts)
    toy.runner.files.carry_out(PutFile(own(toy, "toy.conf"), b"new"))
    at = Here(operation, 1, f"{operation}/1", 99, 1, 2_000_000.0, lambda text: None)
    assert (await step.observe(toy.site, at)).condition is Condition.NEITHER
    assert await step.compensate(toy.site, at) == "0-web-nginx: the old files are back, and it runs with them"
    assert "reload" in " ".join(toy.runner.shown[acts:])


async def test_a_mixture_that_cannot_be_taken_back_pauses_with_a_diagnosis(toy: Toy) -> None:
    operation = await begun(toy)
    toy.runner.reply("loaded", Completed(0, b"still works by the old files"))
    await killed(toy, operation, lambda act: isinstance(act, PutFile) and act.path == own(toy, "beside.conf"))
    toy.runner.files.carry_out(PutFile(own(toy, "toy.conf"), b"new"))
    toy.runner.reply("ready", Completed(0, b"broken"))
    state, summary = await go_on(toy, operation)
    assert state is OperationState.PAUSED
    assert "step 1 (change on web-1) was begun and is neither done nor as before: 0-web-nginx has some old files and some new ones" in summary
    assert "taking it back failed: 0-web-nginx did not answer within 20 s: broken" in summary


async def test_killed_after_its_process_took_over_it_is_done_and_told_nothing_more(toy: Toy) -> None:
    operation = await begun(toy)
    await killed(toy, operation, lambda act: isinstance(act, PutFile) and act.path.name.endswith(".told") and act.content == b"taken\n")
    acts = len(toy.runner.acts)
    assert (await go_on(toy, operation))[0] is OperationState.DONE
    assert events(toy, operation) == [JournalEvent.INTENT, JournalEvent.RECOVERED]
    assert "reload" not in " ".join(toy.runner.shown[acts:])


async def test_killed_before_its_process_was_seen_to_take_over_it_is_told_again(toy: Toy) -> None:
    operation = await begun(toy)
    await killed(toy, operation, lambda act: isinstance(act, PutFile) and act.content == b"told\n")
    acts = len(toy.runner.acts)
    assert (await go_on(toy, operation))[0] is OperationState.DONE
    assert "reload" in " ".join(toy.runner.shown[acts:])


async def test_a_process_that_says_otherwise_is_told_again(toy: Toy) -> None:
    """It was seen to work by the new files, and somebody has reloaded it with others since."""
    operation = await begun(toy)
    await killed(toy, operation, lambda act: isinstance(act, PutFile) and act.content == b"taken\n")

    def reload(_: Act) -> Completed:
        toy.runner.reply("loaded", Completed(0))
        return Completed(0)

    toy.runner.reply("loaded", Completed(0, b"works by other files"))
    toy.runner.reply("reload", reload)
    acts = len(toy.runner.acts)
    assert (await go_on(toy, operation))[0] is OperationState.DONE
    assert "reload" in " ".join(toy.runner.shown[acts:])
