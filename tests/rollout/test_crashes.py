"""A rollout is killed at every moment; whoever goes on ends it as it may end, with nothing lost and nothing orphaned.

Moments are counted by running: every boundary of the journal and every single change within an act (docs/rollout.md, proof).
"""

from __future__ import annotations

import pytest

from manor.state.store import Store
from tests.rollout.cases import QUICK, THOROUGH
from tests.rollout.running import Case, begin, count_moments, problems_of


async def require_accepted(case: Case, store: Store, kills: list[int]) -> None:
    run = await begin(case, store)
    result = await run.killed_at(kills)
    found = problems_of(run, result)
    assert not found, (str(case), kills, found, [(s.seq, s.plan, s.kind, s.host, str(s.outcome), s.evidence) for s in result.steps])


@pytest.mark.parametrize("case", QUICK, ids=str)
async def test_killed_at_every_moment(case: Case, rollouts: Store) -> None:
    for n in range(1, await count_moments(case, rollouts) + 1):
        await require_accepted(case, rollouts, [n])


@pytest.mark.crash
@pytest.mark.parametrize("case", THOROUGH, ids=str)
async def test_killed_at_every_moment_of_larger_fleets(case: Case, rollouts: Store) -> None:
    for n in range(1, await count_moments(case, rollouts) + 1):
        await require_accepted(case, rollouts, [n])
