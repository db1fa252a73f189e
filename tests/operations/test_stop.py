"""Ctrl-C once and twice, and the crash that can be asked for."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from manor.errors import UsageError
from manor.operations import chaos
from manor.operations.chaos import Point, chaos_from, no_chaos
from manor.operations.stop import Stop, stop_on_signals


async def test_the_first_signal_requests_a_stop_and_the_second_leaves() -> None:
    stop, said, left = Stop(), list[str](), asyncio.Event()
    heard = asyncio.Event()

    def tell(text: str) -> None:
        said.append(text)
        heard.set()

    with stop_on_signals(stop, tell, left.set):
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(heard.wait(), 5)
        assert (stop.reason, left.is_set()) == ("stopped by SIGINT", False)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(left.wait(), 5)
    assert said[0] == "SIGINT: finishing the current steps, then pausing; once more leaves at once"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_permission_nothing_crashes() -> None:
    assert chaos_from({}) is no_chaos
    assert chaos_from({"MANOR_CRASH_AT": "1:after_act"}) is no_chaos


@pytest.mark.parametrize("wanted", ["1", "after_act", "1:soon", ":after_act"])
def test_a_crash_at_nowhere_is_refused(wanted: str) -> None:
    with pytest.raises(UsageError, match="write <seq or kind>:<point>"):
        chaos_from({"MANOR_CRASH_AT": wanted, "MANOR_CRASH_ALLOWED": "1"})


@pytest.mark.parametrize("wanted", ["3:after_act", "drain:after_act"])
def test_it_dies_at_the_named_step_and_point_only(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    deaths: list[str] = []
    monkeypatch.setattr(chaos, "die", lambda: deaths.append("died"))
    crash = chaos_from({"MANOR_CRASH_AT": wanted, "MANOR_CRASH_ALLOWED": "1"})
    crash(2, "start", Point.AFTER_ACT)
    crash(3, "drain", Point.AFTER_INTENT)
    assert deaths == []
    crash(3, "drain", Point.AFTER_ACT)
    assert deaths == ["died"]
