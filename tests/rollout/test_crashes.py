"""A rollout is killed at every moment; whoever goes on ends it as it may end, with nothing lost and nothing orphaned.

Moments are found by running: every boundary of the journal and every single change within an act (docs/rollout.md, proof).
"""

from __future__ import annotations

import pytest

from manor.operations.chaos import Point
from manor.state.words import OperationState
from tests.rollout.cases import QUICK, THOROUGH, case
from tests.rollout.running import EVERY, Case, InlineStore, Killer, Run, begin, photographed, require_accepted, resumed

MANY = 4
"""Of the moments of a larger rollout each fourth is thorough enough for every day; all of them are for the full matrix."""


@pytest.mark.parametrize("case", QUICK, ids=str)
async def test_killed_at_moments(case: Case, rollouts: InlineStore) -> None:
    run, photos = await photographed(case, rollouts)
    for photo in photos[len(case.name) % EVERY :: EVERY]:
        await resumed(run, photo)


@pytest.mark.parametrize(
    "case", [*(pytest.param(one, marks=pytest.mark.thorough) for one in QUICK), *(pytest.param(one, marks=pytest.mark.crash) for one in THOROUGH)], ids=str
)
async def test_killed_at_every_moment(case: Case, rollouts: InlineStore) -> None:
    run, photos = await photographed(case, rollouts)
    for photo in photos:
        await resumed(run, photo)


@pytest.mark.thorough
@pytest.mark.parametrize("case", THOROUGH, ids=str)
async def test_killed_at_many_moments(case: Case, rollouts: InlineStore) -> None:
    run, photos = await photographed(case, rollouts)
    for photo in photos[len(case.name) % MANY :: MANY]:
        await resumed(run, photo)


@pytest.mark.parametrize("name", ["second", "500s", "in_turn_500s"])
async def test_killed_again_while_going_on(name: str, rollouts: InlineStore) -> None:
    run, photos = await photographed(next(one for one in QUICK if one.name == name), rollouts)
    for number, photo in enumerate(photos[::12]):
        await resumed(run, photo, [1 + number % 7, 2 + number % 5])


class Interrupter(Killer):
    """Asks for a stop, as Ctrl-C does, when the ninth moment is passed."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def __call__(self, seq: int, kind: str, point: Point) -> None:
        super().__call__(seq, kind, point)
        if self.passed == 9:
            self.run.stop.request("stopped by SIGINT")


async def test_interrupted_once_it_pauses_and_can_be_gone_on_with(rollouts: InlineStore) -> None:
    run = await begin(case("interrupted", hosts=2), rollouts)
    result = await run.execute(Interrupter(run))
    assert result is not None
    assert result.operation.state is OperationState.PAUSED
    assert not any(step.is_open for step in result.steps)
    assert not run.world.lost
    run.stop = type(run.stop)()
    require_accepted(run, await run.killed_at([]), "interrupted")
