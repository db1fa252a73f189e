"""Who carries a rollout out is killed, interrupted or not alone: the old release serves, and somebody goes on (docs/faults.md)."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from manor.workflows.context import open_context
from manor.workflows.housekeeping import keep_traffic
from tests.e2e.estates import LiveEstate, wait_until
from tests.e2e.faulty import ESTATE, Faulty, kill
from tests.e2e.orphans import pids_of

KILLED_AT = ("warm:after_intent", "admit:after_act", "drain:after_intent", "certify:after_intent")
KILLED = -9
INTERRUPTED = 130
BALANCER = "tier-0-balancer-haproxy"


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
    with faulty.watched() as watch:
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
    watch.require_nothing_lost(before, after)
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
        assert f"`manor resume {operation}`, or `manor abandon {operation} --reason " in verb.told()
        assert faulty.status()["held"] == []
        refused = faulty.ship("interrupted-other", ok=(5,))
        assert f"first `manor resume {operation}`, or `manor abandon {operation} --reason …`" in refused.stderr
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


def test_an_up_that_was_stopped_half_way_is_gone_on_with_by_the_next(faulty: Faulty) -> None:
    before = faulty.certified
    text = ESTATE.replace("{web: nginx}", "{web: nginx, options: {kept: 17}}")
    faulty.estate.write(text)
    with faulty.watched() as watch:
        for interrupted in (True, False):
            verb = faulty.start("up")
            verb.until("prepare")
            verb.interrupt() if interrupted else verb.kill()
            assert not interrupted or verb.finish() == 5, verb.told()
            operation = verb.events[0]["operation"]
            status = faulty.estate.run("status", ok=(0, 1)).stdout
            word = "paused (stopped by SIGINT)" if interrupted else "half done, and nobody carries it out"
            assert f"needs you  apply prod is {word}: `manor resume {operation}`" in status
            (row,) = faulty.estate.results("up")
            assert row["changed"]
            assert faulty.status()["unfinished"] == []
            faulty.estate.run("plan")
            faulty.estate.write(ESTATE)
    watch.require_bounded(5, 1.0)
    faulty.require_well(before)


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


@pytest.mark.parametrize("point", ["warm:after_intent", "admit:after_act", "drain:after_intent"])
def test_a_rollback_turns_round_what_a_killed_controller_left(faulty: Faulty, point: str) -> None:
    before = faulty.certified
    with faulty.watched() as watch:
        faulty.estate.run(*faulty.words(f"left-at-{point.partition(':')[0]}"), ok=(KILLED,), env=crash(point))
        assert f"that is the rollback: {before} then serves" in faulty.estate.run("rollback", "echo", "-e", "prod", "--dry-run").stdout
        told = faulty.estate.run("rollback", "echo", "-e", "prod").stdout
        assert f"was turned round; {before}, certified, serves as before it" in told
    assert faulty.estate.certified("prod") == before
    watch.require_bounded(0, 0.0)
    faulty.require_well(before)


def say(faulty: Faulty, told: str) -> None:
    """Type the command that a message gives, by hand."""
    found = re.search(r"`echo '([^']+)' \| socat - UNIX-CONNECT:([^`]+)`", told)
    assert found, told
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(found[2])
        connection.sendall(found[1].encode() + b"\n")
        assert connection.recv(4096).strip() == b""


def drained_by_hand(faulty: Faulty) -> str:
    """Take the server of the second host out, as the host's own README says; return its name."""
    server = next(name for name in faulty.estate.serving("prod") if name.startswith("web-2"))
    handbook = (faulty.host_folder("edge-1") / "README.md").read_text()
    path = re.search(r"UNIX-CONNECT:(\S+?balancer-haproxy\.sock)`", handbook)
    assert path, handbook
    say(faulty, f"`echo 'set server echo/{server} state drain' | socat - UNIX-CONNECT:{path[1]}`")
    return server


def test_what_a_person_drained_stays_out_until_a_person_ends_it(faulty: Faulty) -> None:
    before = faulty.certified
    with faulty.watched() as watch:
        server = drained_by_hand(faulty)
        shown = faulty.estate.run("status", ok=(1,)).stdout
        assert f"has {server} out of traffic (drain), and no operation of Manor's took it out; end that with `echo " in shown
        refused = faulty.ship("held", ok=(5,))
        assert f"has {server} out of traffic (drain)" in refused.stderr
        faulty.estate.write(faulty.estate.text.replace("balancer: haproxy", "balancer: haproxy, options: {queue_timeout: 6s}"))
        assert "reloaded" in faulty.estate.run("up").stdout
        assert server not in faulty.estate.serving("prod")
        say(faulty, shown)
        wait_until(lambda: server in faulty.estate.serving("prod"), 10, "it serves again")
        faulty.ship("held")
    after = faulty.estate.certified("prod")
    assert after != before
    watch.require_nothing_lost(before, after)
    faulty.require_well(after)


def test_a_balancer_that_is_killed_comes_back_with_what_a_person_drained(faulty: Faulty) -> None:
    """As a running controller has it noted within half a minute."""
    server = drained_by_hand(faulty)
    assert note_traffic(faulty) == ["prod/echo: edge-1 0-balancer-haproxy will come back with the traffic as it is now"]
    assert note_traffic(faulty) == []
    restart_balancer(faulty)
    shown = faulty.estate.run("status", ok=(1,)).stdout
    assert f"has {server} out of traffic (drain)" in shown
    say(faulty, shown)
    wait_until(lambda: server in faulty.estate.serving("prod"), 10, "it serves again")
    assert len(note_traffic(faulty)) == 1, "that it was ended is noted too"
    restart_balancer(faulty)
    wait_until(lambda: server in faulty.estate.serving("prod"), 10, "it serves after the next restart")
    faulty.require_well(faulty.certified)


def note_traffic(faulty: Faulty) -> list[str]:
    """Do what a controller does every 30 s."""
    with open_context(faulty.estate.folder / "estate.yaml") as context:
        return asyncio.run(keep_traffic(context))


def restart_balancer(faulty: Faulty) -> None:
    """Kill the balancer's master and wait until another one answers."""
    folder = faulty.estate.folder
    master, *_ = pids_of(folder, "edge-1", BALANCER)
    kill(master)
    wait_until(lambda: pids_of(folder, "edge-1", BALANCER)[:1] not in ([], [master]), 10, "it was started again")
    wait_until(lambda: bool(faulty.estate.serving("prod")), 10, "it serves")
