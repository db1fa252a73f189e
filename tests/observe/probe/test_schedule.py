"""When requests are due."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.observe.probe.model import Lane
from manor.observe.probe.schedule import all_ticks, lane_of
from tests.observe.probe.memory import target


@given(share=st.floats(0, 1), count=st.integers(1, 300))
def test_the_share_of_new_connections_is_kept_at_every_moment(share: float, count: int) -> None:
    new = sum(lane_of(number, share) is Lane.NEW for number in range(count))
    assert abs(new - share * count) <= 1.0001


def test_due_times_do_not_drift_and_targets_keep_their_own_rates() -> None:
    ticks = list(islice(all_ticks([target(rate=3), target(rate=300)], 50.0), 310))
    assert [tick.due for tick in ticks] == sorted(tick.due for tick in ticks)
    slow = [tick for tick in ticks if tick.target == 0]
    assert [tick.due for tick in slow[:3]] == pytest.approx([50.0, 50.0 + 1 / 3, 50.0 + 2 / 3])
    assert [tick.number for tick in slow] == [0, 1, 2, 3]


@pytest.mark.parametrize(("share", "lanes"), [(0.0, "kkkk"), (0.5, "knkn"), (1.0, "nnnn")])
def test_lanes_take_turns(share: float, lanes: str) -> None:
    assert "".join(lane_of(number, share)[0] for number in range(4)) == lanes
