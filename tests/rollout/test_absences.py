"""What nobody carried out in its time says nothing of the release; what was judged, or seen to fail, does (docs/rollout.md, the way back)."""

from __future__ import annotations

import pytest

from manor.operations.chaos import Point
from manor.operations.step import Planned, Step
from manor.rollout.blame import absences
from manor.rollout.fleet import Fleet
from manor.rollout.framing import StopProbe
from manor.rollout.moving import AdmitSlot
from manor.rollout.slots import StartSlot, WarmSlot
from manor.state import operations
from manor.state.journal import StepRow
from manor.state.words import OperationState, Outcome
from manor.workflows.rolling import ROLLOUT_KINDS
from tests.rollout.cases import GOOD, NATURES, case
from tests.rollout.running import InlineStore, Killed, Killer, begin
from tests.rollout.test_blame import Disturber, lose
from tests.rollout.test_rules import told

BEGAN = 1000.0
WARM = WarmSlot("echo", "web-1", "b", "new", passes=2, min_healthy_seconds=4.0, interval_seconds=0.5, timeout_seconds=70.0)
ADMIT = AdmitSlot("echo", "web-1", "b", "new")
START = StartSlot("echo", "web-1", "b", "new")
JUDGE = StopProbe("echo", "new")


class DiesAt(Killer):
    """The executor dies at a moment of the first step of a kind; something else may happen before."""

    def __init__(self, kind: str, point: Point, before: Killer | None = None) -> None:
        super().__init__()
        self.moment, self.before = (kind, point), before or Killer()

    def __call__(self, seq: int, kind: str, point: Point) -> None:
        super().__call__(seq, kind, point)
        self.before(seq, kind, point)
        if (kind, point) == self.moment:
            raise Killed


def failed(step: Step[Fleet], gone: float, took: float) -> StepRow:
    """Return a step that was begun again when so much of its time was gone, and then failed after so long."""
    new = ROLLOUT_KINDS.encode(Planned(0, step))
    at, longest = BEGAN + gone, new.timeout_seconds
    return StepRow(
        "o", 1, 0, 0, "1", new.kind, 1, new.host, new.payload, "", "", "", "", longest, 2, BEGAN + longest, at, at + took, Outcome.FAILED, "it failed"
    )


@pytest.mark.parametrize(
    ("step", "gone", "took", "is_excused"),
    [
        (WARM,   50.0,  10.0, True),
        (WARM,    6.0,   0.5, True),
        (WARM,    4.0,   0.5, False),
        (WARM,   20.0,  40.0, False),
        (ADMIT, 290.0,   9.0, True),
        (ADMIT, 200.0,  30.2, False),
        (ADMIT,   0.1,  0.01, False),
        (START, 290.0,   1.0, False),
        (JUDGE,   0.1,  0.01, False),
        (JUDGE, 200.0,   0.1, False),
    ],
)  # fmt: skip
def test_only_what_waits_for_the_program_is_cut_short_and_not_by_a_moment(step: Step[Fleet], gone: float, took: float, is_excused: bool) -> None:
    """A slot has a minute to become healthy, and balancers 30 s to show one that is admitted."""
    wanted = [f"nobody went on with it for up to {gone:.1f} s of its time"] if is_excused else []
    assert absences([failed(step, gone, took)], BEGAN + 5000.0, ROLLOUT_KINDS) == wanted


@pytest.mark.parametrize("seconds", [0.1, 30.0])
async def test_who_judges_what_was_lost_once_more_has_no_excuse(seconds: float, rollouts: InlineStore) -> None:
    """To judge takes no time, so nothing is said by more than that being gone."""
    run = await begin(case("judged", rules={"bake": 5.0}), rollouts)
    assert await run.execute(DiesAt("stop-probe", Point.AFTER_INTENT, Disturber(run, "bake", lose))) is None
    run.world.advance(seconds)
    ended = await run.execute(Killer())
    assert ended is not None
    assert (ended.operation.state, run.world.standing.get("new")) == (OperationState.REVERTED, "burned")
    assert "not held against" not in told(run, ended)


@pytest.mark.parametrize("point", [Point.BEFORE_INTENT, Point.AFTER_INTENT])
@pytest.mark.parametrize("kind", ["place", "start"])
@pytest.mark.parametrize("late", [5.0, 500_000.0])
async def test_a_release_that_nobody_started_is_not_blamed(kind: str, point: Point, late: float, rollouts: InlineStore) -> None:
    run = await begin(case("unstarted"), rollouts)
    assert await run.execute(DiesAt(kind, point)) is None
    run.world.now = (rollouts.read_now(operations.get, run.operation).deadline or 0.0) + late
    result = await run.execute(Killer())
    assert result is not None
    assert (result.operation.state, run.world.standing.get("new")) == (OperationState.REVERTED, None)
    assert "its deadline passed" in told(run, result)


@pytest.mark.parametrize(
    ("nature", "kind", "point"),
    [
        ("500s", "start", Point.AFTER_ACT),
        ("does_not_start", "start", Point.AFTER_ACT),
        ("500s", "warm", Point.BEFORE_INTENT),
        ("500s", "warm", Point.AFTER_INTENT),
    ],
)
async def test_a_release_that_was_started_is_asked_though_nobody_went_on(nature: str, kind: str, point: Point, rollouts: InlineStore) -> None:
    run = await begin(case("started", NATURES[nature]), rollouts)
    assert await run.execute(DiesAt(kind, point)) is None
    run.world.advance(2.0)
    run.world.now += 500_000.0
    result = await run.execute(Killer())
    assert result is not None
    assert (result.operation.state, run.world.standing.get("new")) == (OperationState.REVERTED, "burned")


async def test_a_release_that_works_is_spared_where_it_was_started(rollouts: InlineStore) -> None:
    run = await begin(case("works", GOOD), rollouts)
    assert await run.execute(DiesAt("warm", Point.BEFORE_INTENT)) is None
    run.world.now += 500_000.0
    result = await run.execute(Killer())
    assert result is not None
    assert (result.operation.state, run.world.standing.get("new")) == (OperationState.REVERTED, None)
