"""Who carries a rollout out is killed, interrupted or not alone: the old release serves, and somebody goes on (docs/faults.md)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.estates import LiveEstate
from tests.e2e.faulty import ESTATE, Faulty

KILLED_AT = ("warm:after_intent", "admit:after_act", "drain:after_intent", "certify:after_intent")
KILLED = -9
INTERRUPTED = 130


@pytest.fixture(scope="module")
def faulty(make_estate: Callable[[str], LiveEstate], echo: Path, tmp_path_factory: pytest.TempPathFactory) -> Faulty:
    """The estate, with a release that serves."""
    patient = ESTATE.replace("instance_deadline: 5s", "instance_deadline: 60s")
    return Faulty(make_estate(patient), echo, tmp_path_factory.mktemp("releases")).begin()


def crash(point: str) -> dict[str, str]:
    """Return what has a verb kill itself there."""
    return {"MANOR_CRASH_AT": point, "MANOR_CRASH_ALLOWED": "1"}


def test_a_controller_that_is_killed_again_and_again_loses_nothing(faulty: Faulty) -> None:
    before = faulty.certified
    with faulty.watched() as watch:
        words: tuple[str, ...] = faulty.words("killed")
        for point in KILLED_AT:
            faulty.estate.run(*words, ok=(KILLED,), env=crash(point))
            words = ("resume", "echo")
        faulty.estate.run("resume", "echo")
    after = faulty.estate.certified("prod")
    assert after != before
    watch.require_nothing_lost(before, after)
    faulty.require_well(after)


def test_two_operators_at_once(faulty: Faulty) -> None:
    before = faulty.certified
    first = faulty.start(*faulty.words("operator"))
    first.until("warm", host="web-1")
    second = faulty.ship("other-operator", ok=(7,))
    operation = first.events[0]["operation"]
    told = re.search(rf"prod/echo is held for operation {operation} by .*\b{first.process.pid}\b.* since \d+ s; `--wait` waits for it", second.stderr)
    assert told, second.stderr
    changing = faulty.estate.run("up", "--json", ok=(0, 7))
    assert changing.returncode == 0, "nothing to do needs no lease"
    assert first.finish() == 0, first.told()
    after = faulty.estate.certified("prod")
    assert after != before
    faulty.require_well(after)


def test_ctrl_c_once_pauses_and_twice_leaves_at_once(faulty: Faulty) -> None:
    before = faulty.certified
    with faulty.watched() as watch:
        verb = faulty.start(*faulty.words("interrupted"))
        verb.until("warm", host="web-1")
        verb.interrupt()
        assert verb.finish() == 5, verb.told()
        assert "SIGINT: finishing the current steps, then pausing; once more leaves at once" in verb.told()
        operation = verb.events[0]["operation"]
        assert f"operation {operation} is paused: stopped by SIGINT" in verb.told()
        assert f"`manor resume {operation}` goes on, `manor abandon {operation}` gives it up" in verb.told()
        assert faulty.status()["held"] == []
        refused = faulty.ship("interrupted-other", ok=(5,))
        assert f"first `manor resume {operation}` or `manor abandon {operation}`" in refused.stderr
        verb = faulty.start("resume", operation)
        verb.until("warm", host="web-2")
        verb.interrupt()
        verb.until("warm", "said", host="web-2")
        verb.interrupt()
        assert verb.finish() == INTERRUPTED, verb.told()
        faulty.estate.run("resume", operation)
    after = faulty.estate.certified("prod")
    assert after != before
    watch.require_nothing_lost(before, after)
    faulty.require_well(after)


def test_what_a_killed_controller_left_is_shown(faulty: Faulty) -> None:
    before = faulty.certified
    with faulty.watched() as watch:
        verb = faulty.start(*faulty.words("shown"))
        verb.until("warm", host="web-1")
        verb.kill()
        operation = verb.events[0]["operation"]
        shown = faulty.estate.run("status", ok=(0, 1)).stdout
        assert f"`manor resume {operation}`" in shown
        faulty.estate.run("resume", operation)
    after = faulty.estate.certified("prod")
    watch.require_nothing_lost(before, after)
    faulty.require_well(after)
