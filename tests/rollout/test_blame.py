"""A release is marked as failed for what it did, not for what a tier did meanwhile (docs/rollout.md, the way back)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from manor.errors import ManorError, Unreachable
from manor.execution.values import Completed
from manor.integrations.supervisors.base import ProgramStatus, ProgramView
from manor.operations.chaos import Point
from manor.rollout.disturbances import disturbances, parse_processes, word_of
from manor.rollout.fleet import Checked, SlotRef
from manor.rollout.slots import LOOK_SECONDS
from manor.state import journal
from manor.state.words import OperationState
from tests.reconcile.test_parts import PartToy
from tests.reconcile.toys import Toy
from tests.rollout.balancers import Loss
from tests.rollout.cases import GOOD, NATURES, case
from tests.rollout.model import ModelFleet, World
from tests.rollout.running import Case, InlineStore, Killer, Run, begin
from tests.rollout.test_held import toy  # noqa: F401 - a fixture
from tests.rollout.test_rules import DiesIn, told

RESTARTED = "edge-1: tier-0-balancer-model was started again 2 s ago"


class Disturber(Killer):
    """Something happens to the world right before the first step of a kind."""

    def __init__(self, run: Run, kind: str, happens: Callable[[World], None]) -> None:
        super().__init__()
        self.run, self.kind, self.happens = run, kind, happens

    def __call__(self, seq: int, kind: str, point: Point) -> None:
        super().__call__(seq, kind, point)
        if kind == self.kind:
            self.kind = ""
            self.happens(self.run.world)


def restart(world: World) -> None:
    """A balancer was killed and came back; a request was lost."""
    world.disturbances.append((world.now, RESTARTED))
    world.losses.append(Loss(world.now, "", "refused", is_fault=True))


def lose(world: World) -> None:
    world.losses.append(Loss(world.now, "", "refused", is_fault=True))


async def turned_round(store: InlineStore, asked: Case, kind: str, happens: Callable[[World], None]) -> tuple[Run, str]:
    """Carry a rollout out in which something happens; it has to be turned round. Returns how it is told."""
    run = await begin(asked, store)
    result = await run.execute(Disturber(run, kind, happens))
    assert result is not None
    assert result.operation.state is OperationState.REVERTED, result.operation.summary
    return run, told(run, result)


async def test_what_a_killed_balancer_lost_is_not_held_against_the_release(rollouts: InlineStore) -> None:
    run, text = await turned_round(rollouts, case("balancer"), "drain", restart)
    assert "new" not in run.world.standing
    assert "the probe lost 1 of" in text
    assert f"; that is not held against the release: {RESTARTED}; old serves as before" in text


async def test_what_is_lost_while_every_tier_runs_burns_it(rollouts: InlineStore) -> None:
    run, text = await turned_round(rollouts, case("lost"), "drain", lose)
    assert run.world.standing["new"] == "burned"
    assert "not held against" not in text


@pytest.mark.parametrize("name", ["500s", "does_not_start", "exits_after_admit"])
async def test_a_release_that_fails_its_own_check_is_burned_whatever_tiers_do(rollouts: InlineStore, name: str) -> None:
    faults = case(name, NATURES[name], hosts=2)
    run, text = await turned_round(rollouts, faults, "admit" if name == "exits_after_admit" else "warm", restart)
    assert run.world.standing["new"] == "burned"
    assert "not held against" not in text


async def test_a_tier_that_does_not_see_what_works_is_to_blame_if_it_was_disturbed(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unseen(ports: ModelFleet, ref: SlotRef) -> bool:
        return False

    monkeypatch.setattr("manor.rollout.slots.healthy_everywhere", unseen)
    run, text = await turned_round(rollouts, case("unseen"), "warm", restart)
    assert "new" not in run.world.standing
    assert "it answers, but did not stay healthy on every balancer for long enough" in text


async def test_what_was_before_the_step_that_failed_is_no_excuse(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unseen(ports: ModelFleet, ref: SlotRef) -> bool:
        return False

    monkeypatch.setattr("manor.rollout.slots.healthy_everywhere", unseen)
    run, _ = await turned_round(rollouts, case("before"), "warm", lambda world: world.disturbances.append((world.now - 6.0, RESTARTED)))
    assert run.world.standing["new"] == "burned"


async def test_who_cannot_look_has_no_excuse(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def blind(fleet: ModelFleet, since: float) -> tuple[str, ...]:
        raise Unreachable("edge-1: no answer")

    monkeypatch.setattr(ModelFleet, "disturbed", blind)
    run, _ = await turned_round(rollouts, case("blind"), "drain", restart)
    assert run.world.standing["new"] == "burned"


async def test_a_host_that_went_away_in_the_bake_is_not_held_against_the_release(rollouts: InlineStore) -> None:
    run = await begin(case("gone", hosts=3, rules={"bake": 5.0}), rollouts)
    await run.execute(Disturber(run, "bake", lambda world: world.lost_hosts.add("web-2")))
    spared = {step.evidence for step in run.store.read_now(journal.steps, run.operation) if step.kind == "spare"}
    assert spared == {"web-2 can't be reached, so nobody can tell how it does there"}
    assert "new" not in run.world.standing


async def test_a_host_that_went_away_does_not_excuse_a_release_that_is_dead_on_another(rollouts: InlineStore) -> None:
    def happens(world: World) -> None:
        world.lost_hosts.add("web-3")
        for server in ("web-1-b", "web-2-b"):
            world.programs[server].is_dead = True

    run = await begin(case("gone_and_dead", hosts=3, rules={"bake": 5.0}), rollouts)
    await run.execute(Disturber(run, "bake", happens))
    assert run.world.standing["new"] == "burned"


async def test_a_supervisor_that_answers_with_an_error_keeps_nobody_from_going_back(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, world = ModelFleet.program, list[str]()

    async def confused(fleet: ModelFleet, ref: SlotRef) -> ProgramView | None:
        if world and ref.host == "web-3" and not any(step.plan for step in fleet.store.read_now(journal.steps, world[0])):
            raise ManorError("web-3: the supervisor does not know echo-b")
        return await whole(fleet, ref)

    def happens(made: World) -> None:
        world.append(run.operation)
        made.programs["web-1-b"].is_dead = True

    monkeypatch.setattr(ModelFleet, "program", confused)
    run = await begin(case("confused", hosts=3, rules={"bake": 5.0}), rollouts)
    result = await run.execute(Disturber(run, "bake", happens))
    assert result is not None
    assert (result.operation.state, run.world.standing["new"]) == (OperationState.REVERTED, "burned")


async def test_what_was_judged_stays_so_when_the_way_back_is_planned_again(rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, tries = ModelFleet.stop, []

    async def stop_at_second(fleet: ModelFleet, *words: object) -> None:
        tries.append(words)
        if len(tries) == 2:
            raise Unreachable("web-1: no answer")
        await whole(fleet, *words)  # type: ignore[arg-type]

    run = await begin(case("again", hosts=1), rollouts)
    monkeypatch.setattr(ModelFleet, "stop", stop_at_second)
    result = await run.execute(Disturber(run, "drain", restart))
    assert result is not None
    assert result.operation.plan == 2
    assert "new" not in run.world.standing
    assert [step.evidence for step in result.steps if step.kind == "spare" and step.plan == 2] == [RESTARTED]


def stat(pid: int, group: int, started: int, state: str = "S") -> str:
    """Return a line of /proc/PID/stat; started in ticks after boot."""
    return f"{pid} (nginx: w) {state} 1 {group} 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {started} 1000 5 1"


def processes(*lines: str) -> Completed:
    """Return what a host answers that was started 1000.5 s ago."""
    return Completed(0, "\n".join(["1000.50 99", "100", *lines]).encode())


def test_a_group_is_as_old_as_its_youngest() -> None:
    found = parse_processes(processes(stat(7, 7, 5000), stat(9, 7, 99050), stat(3, 3, 5000), stat(4, 4, 99050, "Z")))
    assert (found.youngest, found.starts) == ({7: 10.0, 3: 950.5}, {7: 5000, 9: 99050, 3: 5000}), "what ended and was not yet asked for is not alive"
    with pytest.raises(ManorError, match="how old processes are could not be read: 'sorry'"):
        parse_processes(Completed(0, b"sorry"))


ENDED = "tier-a has ended, and was not started again yet"


@pytest.mark.parametrize(
    ("status", "pid", "note", "word"),
    [
        (ProgramStatus.RUNNING, 7, b"", "tier-a was started again 10 s ago"),
        (ProgramStatus.RUNNING, 3, b"", ""),
        (ProgramStatus.RUNNING, None, b"", ""),
        (ProgramStatus.RUNNING, 99, b"", ENDED),
        (ProgramStatus.FAILED, None, b"", "tier-a is failed"),
        pytest.param(ProgramStatus.RUNNING, 5, b"3 5000 boot 3 5000 instance\n", "", id="outlived"),
        pytest.param(ProgramStatus.RUNNING, 5, b"7 5000 boot 7 5000 instance\n", "tier-a was started again 10 s ago", id="outlived-with-a-young-worker"),
        pytest.param(ProgramStatus.RUNNING, 5, b"4 5000 boot 4 5000 instance\n", ENDED, id="killed"),
        pytest.param(ProgramStatus.RUNNING, 5, b"3 4999 boot 3 4999 instance\n", ENDED, id="killed-and-its-number-is-another's"),
        pytest.param(ProgramStatus.RUNNING, 5, b"", ENDED, id="not-started-yet"),
        pytest.param(ProgramStatus.RUNNING, 5, b"?? ?", ENDED, id="a-broken-note"),
    ],
)
def test_a_program_is_disturbed_that_is_young_or_does_not_run(status: ProgramStatus, pid: int | None, note: bytes, word: str) -> None:
    """Of a wrapper that waits (5), what it waits for counts: the process that its note is about."""
    found = parse_processes(processes("/proc/5/environ", stat(7, 7, 5000), stat(9, 7, 99050), stat(3, 3, 5000), stat(5, 5, 99900)))
    assert word_of(ProgramView("tier-a", status, pid), found, 60.0, note) == word


async def test_a_supervisor_that_does_not_answer_is_a_disturbance(toy: Toy) -> None:  # noqa: F811
    toy.runner.reply("uptime", processes(stat(1, 1, 1)))
    toy.runs()
    assert await disturbances(toy.site, 60.0) == ()
    toy.runner.reply("status", Unreachable("no answer"))
    assert await disturbances(toy.site, 60.0) == ("web-1: toyd does not answer",)
    toy.runs()
    toy.runner.reply("uptime", processes())
    assert await disturbances(toy.site, 60.0) == ("web-1: tier-0-web-nginx has ended, and was not started again yet",)


async def test_a_program_of_somebody_else_that_was_started_again_or_does_not_work_is_a_disturbance(toy: Toy) -> None:  # noqa: F811
    part = PartToy(toy.wiring, toy.store)
    part.runs()
    part.runner.reply("uptime", processes(stat(1, 1, 1), stat(77, 77, 99050)))
    assert await disturbances(part.site, 5.0) == ()
    assert await disturbances(part.site, 60.0) == ("web-1: 0-web-nginx: your toy was started again, or reloaded, 10 s ago",)
    part.runner.reply("loaded", Unreachable("nobody answers"))
    (told,) = await disturbances(part.site, 5.0)
    assert told.startswith("web-1: 0-web-nginx: your program does not answer")
    part.runner.reply("status", Unreachable("there is none"))
    alone = replace(part.site, hosts={"web-1": replace(part.host, is_supervised=False)})
    assert await disturbances(alone, 5.0) == (told,)


async def test_an_absence_before_a_bake_that_was_watched_again_excuses_nothing_that_is_seen_in_it(
    rollouts: InlineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ModelFleet.check

    async def answers_500_now_and_then(fleet: ModelFleet, ref: SlotRef) -> Checked:
        return Checked(passed=False, detail="/healthz answers 500, not 200") if ref.slot == "b" else await whole(fleet, ref)

    async def answers(fleet: ModelFleet, ref: SlotRef) -> Checked:
        return Checked(passed=True, detail="")

    run = await begin(case("bakes", rules={"bake": 5.0}), rollouts)
    assert await run.execute(DiesIn("bake")) is None
    run.world.now += 500_000.0
    for program in run.world.programs.values():
        program.started_at += 500_000.0
    monkeypatch.setattr(ModelFleet, "check", answers_500_now_and_then)
    monkeypatch.setattr(ModelFleet, "check_program", answers)
    result = await run.execute(Killer())
    assert result is not None
    assert (result.operation.state, run.world.standing.get("new")) == (OperationState.REVERTED, "burned")
    assert "nobody carried the rollout out" not in told(run, result)


@pytest.mark.parametrize(
    ("nature", "late", "standing", "words"),
    [
        ("", -0.7, None, "nobody went on with it for up to 7.3 s of its time"),
        ("", 3.0, None, "nobody went on with it for up to 11.0 s of its time"),
        ("", 30.0, None, "nobody carried the rollout out until 20 s after a deadline"),
        ("500s", -0.7, "burned", ""),
        ("500s", 3.0, "burned", ""),
        ("500s", -7.0, "burned", ""),
    ],
)
async def test_who_goes_on_too_late_for_a_step_does_not_blame_a_release_that_works(
    nature: str, late: float, standing: str | None, words: str, rollouts: InlineStore
) -> None:
    """It has 8 s to become healthy, 4 s of them at a stretch."""
    run = await begin(case(f"left{late}", NATURES.get(nature, GOOD), hosts=2, rules={"min_healthy_time": 4.0}), rollouts)
    assert await run.execute(DiesIn("warm")) is None
    (warm,) = (step for step in rollouts.read_now(journal.steps, run.operation) if step.kind == "warm" and step.is_open)
    run.world.now = (warm.deadline or 0.0) - LOOK_SECONDS + late
    result = await run.execute(Killer())
    assert result is not None
    assert (result.operation.state, run.world.standing.get("new")) == (OperationState.REVERTED, standing)
    assert words in told(run, result)
    assert words or "nobody" not in told(run, result)
