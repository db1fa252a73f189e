"""Times of lines, whatever wrote them; logs merged without tearing what belongs together."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manor.integrations.proxies.base import AccessRecord
from manor.workflows.log_lines import Line, in_order, merge, read_lines, time_of
from manor.workflows.tracing import Hop, with_own_times

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "after_noon"),
    [
        ("2026-03-01T12:00:01Z started", 1.0),
        ("2026-03-01T12:00:01.250Z started", 1.25),
        ("2026-03-01T13:00:01+01:00 INFO x", 1.0),
        ("2026-03-01T13:00:01+0100 INFO x", 1.0),
        ('{"time":"2026-03-01T12:00:02Z","level":"info"}', 2.0),
        ("[2026-03-01 12:00:03 +0000] [7] [INFO] Booting", None),
        ("INFO:     Application startup complete.", None),
        ("2026-99-99T12:00:01Z no day", None),
        ("x" * 80 + "2026-03-01T12:00:01Z", None),
    ],
)
def test_the_time_a_line_begins_with(text: str, after_noon: float | None) -> None:
    found = time_of(text)
    if after_noon is not None:
        assert found == pytest.approx(NOON + after_noon)
    else:
        assert found is None or text.startswith("[")


def test_a_time_without_a_zone_is_this_machines() -> None:
    here = datetime.fromtimestamp(NOON).astimezone()
    for text in (f"{here:%Y-%m-%d %H:%M:%S},500 INFO", f"{here:%Y/%m/%d %H:%M:%S} [error] 7#7"):
        assert NOON <= (time_of(text) or 0.0) < NOON + 1


def test_a_traceback_stays_in_one_piece() -> None:
    one = list(read_lines("web-1", "shop-a", ["2026-03-01T12:00:01Z failed", "Traceback:", "  File x", "2026-03-01T12:00:05Z next"], None))
    other = list(read_lines("web-2", "shop-a", ["2026-03-01T12:00:02Z well", "2026-03-01T12:00:06Z well"], None))
    assert [line.text.split(" ")[-1] for line in merge([one, other])] == ["failed", "Traceback:", "x", "well", "next", "well"]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, derandomize=True)
@given(st.lists(st.lists(st.none() | st.integers(0, 9).map(float), max_size=5), max_size=3))
def test_merging_loses_nothing_and_keeps_each_logs_order(logs: list[list[float | None]]) -> None:
    lines = [[Line("h", str(number), str(index), time) for index, time in enumerate(log)] for number, log in enumerate(logs)]
    merged = list(merge(lines))
    for number, log in enumerate(logs):
        assert [line.text for line in merged if line.source == str(number)] == [str(index) for index in range(len(log))]
    assert all(list(in_order(log)) == list(in_order(list(in_order(log)))) for log in lines)


def record(time: float, seconds: float) -> AccessRecord:
    return AccessRecord(time, "t", "id-123", "shop", "GET", "h", "/", 200, 200, "done", seconds, 10, "a", "")


def test_a_hops_own_time_is_what_the_next_one_does_not_account_for() -> None:
    hops = [Hop("prod", "edge-1", f"{place}-x", place, record(10.0, seconds), 0.0) for place, seconds in enumerate((0.5, 0.4, 0.45))]
    assert [round(hop.own_seconds, 3) for hop in with_own_times(hops)] == [0.1, 0.0, 0.45]
    assert hops[0].began == 9.5
