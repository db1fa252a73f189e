"""What runs is killed in mid-rollout with no warning: it comes back, and what was lost is bounded and told (docs/faults.md)."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.estates import LiveEstate, wait_until
from tests.e2e.faulty import ESTATE, RATE, Faulty, kill
from tests.e2e.orphans import pids_of, processes_of, supervisor_of

SECONDS_TO_COME_BACK = 6.0
"""So long a killed tier may be away; a wrapper waits one second before it starts anything a second time within a second."""
LOST_AT_MOST = int(2 * RATE * SECONDS_TO_COME_BACK)
KILLED = -9
SECONDS_TO_BE_MISSED = 12.0
"""So long a balancer may send requests to a host that hangs: its checks have to run into their time-out of 2 s, twice."""
LOST_HOST_SECONDS = 600.0
SPARING = {"MANOR_CRASH_AT": "spare:after_act", "MANOR_CRASH_ALLOWED": "1"}
"""Has a verb kill itself once it has noted that the release is not to blame."""
BALANCER, WEB = "tier-0-balancer-haproxy", "tier-1-web-nginx"


@pytest.fixture(scope="module")
def faulty(make_estate: Callable[[str], LiveEstate], echo: Path, tmp_path_factory: pytest.TempPathFactory) -> Faulty:
    """The estate, with a release that serves."""
    return Faulty(make_estate(ESTATE), echo, tmp_path_factory.mktemp("releases")).begin()


def test_a_killed_supervisor_is_started_again_and_the_rollout_goes_on(faulty: Faulty) -> None:
    before, folder = faulty.certified, faulty.estate.folder
    kill(supervisor_of(folder, "edge-1"))
    with faulty.watched() as watch:
        verb = faulty.start(*faulty.words("supervisor"))
        verb.until("warm", host="web-1")
        kill(supervisor_of(folder, "web-1"))
        kill(supervisor_of(folder, "web-2"))
        assert verb.finish() == 0, verb.told()
    after = faulty.estate.certified("prod")
    watch.require_nothing_lost(before, after)
    faulty.require_well(after)


def test_what_ends_while_its_supervisor_is_dead_comes_back(faulty: Faulty) -> None:
    before, folder = faulty.certified, faulty.estate.folder
    slot = next(slot["server"].rsplit("-", 1)[1] for slot in faulty.status()["services"][0]["slots"] if slot["seen"] == "ready")
    kill(supervisor_of(folder, "web-1"))
    with faulty.watched() as watch:
        kill(pids_of(folder, "web-1", f"echo-{slot}")[0])
        wait_until(lambda: not pids_of(folder, "web-1", f"echo-{slot}"), 5, "it is gone")
        faulty.estate.run("up")
        wait_until(lambda: faulty.estate.serving("prod").keys() >= {f"web-1-{slot}"}, 10, "it serves again")
    watch.require_bounded(LOST_AT_MOST, SECONDS_TO_COME_BACK)
    faulty.require_well(before)


@pytest.mark.parametrize("which", [0, 1], ids=["master", "worker"])
def test_a_killed_balancer_comes_back_with_its_slots(faulty: Faulty, which: int) -> None:
    before, folder = faulty.certified, faulty.estate.folder
    with faulty.watched() as watch:
        verb = faulty.start(*faulty.words(f"balancer-{which}"), **SPARING)
        verb.until("drain", "done", host="web-1")
        kill(pids_of(folder, "edge-1", BALANCER)[which])
        assert verb.finish() == KILLED, verb.told()
        verb = faulty.start("resume", "echo")
        code = verb.finish()
        time.sleep(1)
    watch.require_bounded(LOST_AT_MOST, SECONDS_TO_COME_BACK)
    assert code == 5, verb.told()
    assert "the probe lost " in verb.told()
    assert f"; that is not held against the release: edge-1: {BALANCER} was started again " in verb.told()
    assert f"{before} serves as before" in verb.told()
    faulty.require_well(before)
    faulty.ship(f"balancer-{which}")
    faulty.require_well(faulty.estate.certified("prod"))


@pytest.mark.parametrize("which", [0, 1], ids=["master", "worker"])
def test_a_killed_web_server_comes_back(faulty: Faulty, which: int) -> None:
    before, folder = faulty.certified, faulty.estate.folder
    with faulty.watched() as watch:
        verb = faulty.start(*faulty.words(f"web-{which}"))
        verb.until("warm", host="web-2")
        kill(pids_of(folder, "web-1", WEB)[which])
        code = verb.finish()
    watch.require_bounded(LOST_AT_MOST, SECONDS_TO_COME_BACK)
    assert code in (0, 5), verb.told()
    assert code == 0 or "was turned round in prod: web-1: " in verb.told() or "the probe lost " in verb.told(), verb.told()
    assert code == 0 or f"; that is not held against the release: web-1: {WEB} " in verb.told(), verb.told()
    faulty.require_well(faulty.estate.certified("prod") if code == 0 else before)
    faulty.ship(f"web-{which}")


def guards_of(folder: Path) -> list[int]:
    """Return the guards that run, and what started them."""
    return [process.pid for process in processes_of(folder) if "guard.py" in process.words]


@pytest.mark.parametrize("is_alone", [False, True], ids=["guard", "guard-and-command-line"])
def test_a_killed_guard_leaves_the_rollout_as_it_is(faulty: Faulty, is_alone: bool) -> None:
    """Requests of some seconds hold the drain up, and are answered in full."""
    before, folder = faulty.certified, faulty.estate.folder
    with faulty.watched() as watch, ThreadPoolExecutor(4) as pool:
        verb = faulty.start(*faulty.words(f"unguarded-{is_alone}"))
        verb.until("warm", "done", host="web-1")
        slow = [pool.submit(faulty.answer, "/events?seconds=5&every=1") for _ in range(4)]
        wait_until(lambda: guards_of(folder), 10, "the guard")
        if is_alone:
            verb.kill()
        for guard in guards_of(folder):
            with suppress(ProcessLookupError):  # what started it ends with it
                kill(guard)
        assert not guards_of(folder)
        if is_alone:
            faulty.estate.run("resume", "echo")
        else:
            assert verb.finish() == 0, verb.told()
        assert [answer.result(10).count("data:") for answer in slow] == [6] * 4
    after = faulty.estate.certified("prod")
    assert after != before
    watch.require_nothing_lost(before, after)
    faulty.require_well(after)


def slots_of(faulty: Faulty, host: str) -> tuple[str, str]:
    """Return the slot of a host that serves, and the idle one."""
    ready = next(slot["server"][-1] for slot in faulty.status()["services"][0]["slots"] if (slot["host"], slot["seen"]) == (host, "ready"))
    return ready, "b" if ready == "a" else "a"


def test_a_killed_program_comes_back(faulty: Faulty) -> None:
    before, folder = faulty.certified, faulty.estate.folder
    ready, _ = slots_of(faulty, "web-2")
    with faulty.watched() as watch:
        verb = faulty.start(*faulty.words("program"))
        verb.until("warm", host="web-1")
        kill(pids_of(folder, "web-2", f"echo-{ready}")[0])
        code = verb.finish()
    watch.require_bounded(LOST_AT_MOST, SECONDS_TO_COME_BACK)
    assert code in (0, 5), verb.told()
    assert code == 0 or "the probe lost " in verb.told(), verb.told()
    faulty.require_well(faulty.estate.certified("prod") if code == 0 else before)


def test_a_new_program_that_is_killed_while_it_warms_takes_no_traffic_before_its_time(faulty: Faulty) -> None:
    before, folder = faulty.certified, faulty.estate.folder
    _, idle = slots_of(faulty, "web-1")
    with faulty.watched() as watch:
        verb = faulty.start(*faulty.words("warming"))
        verb.until("warm", host="web-1")
        wait_until(lambda: pids_of(folder, "web-1", f"echo-{idle}"), 5, "the new program")
        kill(pids_of(folder, "web-1", f"echo-{idle}")[0])
        code = verb.finish()
    assert code in (0, 5), verb.told()
    assert code == 0 or "web-1: " in verb.told(), verb.told()
    after = faulty.estate.certified("prod")
    assert (after == before) == (code == 5)
    watch.require_nothing_lost(*{before, after})
    faulty.require_well(after)


def test_a_killed_probe_proves_nothing(faulty: Faulty) -> None:
    before, folder = faulty.certified, faulty.estate.folder
    with faulty.watched() as watch:
        verb = faulty.start(*faulty.words("unproven"))
        verb.until("warm", host="web-2")
        kill(next(process.pid for process in processes_of(folder) if process.words.startswith(f"{sys.executable} -m manor.observe.probe")))
        assert verb.finish() == 5, verb.told()
    assert "not measured to its end: it ended " in verb.told()
    assert "so nothing is certified" in verb.told()
    assert f"{before} serves as before" in verb.told()
    watch.require_nothing_lost(before, *watch.releases)
    faulty.require_well(before)


def told_at_once(folder: Path, host: str, number: signal.Signals) -> int:
    """Send a signal to everything that runs on a host, its supervisor and wrappers too, until nothing new appears; return to how many."""
    told: set[int] = set()
    while new := {process.pid for process in processes_of(folder) if f"/{host}:" in process.instance or f"/{host}/" in process.words} - told:
        for pid in new:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        told |= new
    return len(told)


@pytest.mark.parametrize("number", [pytest.param(signal.SIGKILL, id="is-reset"), pytest.param(signal.SIGSTOP, id="hangs", marks=pytest.mark.crash)])
def test_a_host_that_is_lost_in_mid_drain(faulty: Faulty, number: signal.Signals) -> None:
    """Its requests of some seconds hold the drain up, and are cut. One that hangs is waited for at each word to it, so that takes minutes."""
    before, folder = faulty.certified, faulty.estate.folder
    try:
        with faulty.watched(LOST_HOST_SECONDS) as watch, ThreadPoolExecutor(4) as pool:
            verb = faulty.start(*faulty.words(f"lost-{number.name}"))
            verb.until("warm", "done", host="web-1")
            for _ in range(4):
                pool.submit(faulty.answer, "/events?seconds=5&every=1", "-m", "8")
            verb.until("drain", host="web-1")
            assert told_at_once(folder, "web-1", number) > 4, "supervisor, wrappers, web server and both programs"
            code = verb.finish(LOST_HOST_SECONDS)
    finally:
        told_at_once(folder, "web-1", signal.SIGCONT)
    watch.require_bounded(int(2 * RATE * SECONDS_TO_BE_MISSED), SECONDS_TO_BE_MISSED)
    assert code in (0, 5, 6), verb.told()
    after = faulty.estate.certified("prod")
    assert (after != before) == (code == 0)
    if code == 6:
        assert f"`manor resume echo --only failed` brings what was not brought back to {before}" in verb.told()
        (again,) = faulty.estate.results("resume", "echo", "--only", "failed")
        assert again["hosts"] == {"web-1": "ok"}
    faulty.require_well(after)


def test_what_was_given_up_is_cleared_though_the_supervisors_are_dead(faulty: Faulty) -> None:
    before = faulty.certified
    faulty.estate.run(*faulty.words("given-up"), ok=(KILLED,), env={"MANOR_CRASH_AT": "admit:after_act", "MANOR_CRASH_ALLOWED": "1"})
    (operation,) = faulty.status()["unfinished"]
    faulty.estate.run("abandon", operation["id"], "--reason", "tried")
    for host in ("web-1", "web-2"):
        kill(supervisor_of(faulty.estate.folder, host))
    with faulty.watched() as watch:
        faulty.ship("after-all")
    after = faulty.estate.certified("prod")
    assert after != before
    assert watch.result is not None
    assert watch.result.lost == 0, watch.result.losses
    faulty.require_well(after)


def test_down_ends_what_lives_without_its_supervisor(faulty: Faulty) -> None:
    """Last here: nothing runs after it."""
    folder = faulty.estate.folder
    for host in ("edge-1", "web-1", "web-2"):
        kill(supervisor_of(folder, host))
    assert {process.instance.rpartition("/")[2] for process in processes_of(folder)} >= {f"edge-1:{BALANCER}", f"web-1:{WEB}", f"web-2:{WEB}"}
    faulty.estate.run("down")
    assert processes_of(folder) == []
