"""Releases that are no good: the old one serves on, and the message says why (docs/faults.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.estates import LiveEstate, curl
from tests.e2e.faulty import ESTATE, Faulty


@pytest.fixture(scope="module")
def faulty(make_estate: Callable[[str], LiveEstate], echo: Path, tmp_path_factory: pytest.TempPathFactory) -> Faulty:
    """The estate, with a release that serves."""
    second = ESTATE.replace("traffic:", SECOND + "traffic:")
    return Faulty(make_estate(second), echo, tmp_path_factory.mktemp("releases")).begin()


SECOND = """\
  newcomer:
    run: {command: "python3 -m echo --bind {address}:{port}", port: 8320}
    place: {on: web}
    health: {http: /healthz, interval: 250ms}
    routes: [{host: newcomer}]
    rollout: {min_healthy_time: 0s, settle: 0s, drain_timeout: 1s, instance_deadline: 10s}
  asked:
    run: {command: "python3 -m echo --bind {address}:{port}", port: 8330}
    place: {on: web}
    health: {command: "sh check.sh {address} {port}", interval: 250ms}
    routes: [{host: asked}]
    probe: [{path: /probed, rate: 20}]
    rollout: {min_healthy_time: 0s, settle: 0s, drain_timeout: 1s, instance_deadline: 5s}
  knocked:
    run: {command: "python3 -m echo --bind {address}:{port}", port: 8340}
    place: {on: web}
    health: {tcp: true, interval: 250ms}
    routes: [{host: knocked}]
    probe: [{path: /probed, rate: 20}]
    rollout: {min_healthy_time: 0s, settle: 0s, drain_timeout: 1s, instance_deadline: 5s}
"""
CHECK = """\
test "$MANOR_PORT" = "$2" || exit 9
exec python3 -c 'import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)' "$1" "$2"
"""
DEAF = """\
import time
print("this release listens nowhere", flush=True)
time.sleep(600)
"""
JUDGED = {
    "asked": ({"check.sh": CHECK}, {"check.sh": "echo no database >&2\nexit 3\n"}, ("web-1: ", "`sh check.sh ", "ended with code 3", "no database")),
    "knocked": ({}, {"echo.py": DEAF}, ("web-1: ", "Connect call failed")),
}
"""By service: what its good release brings, what its bad one does, and what is said of that."""

BAD = {
    "does-not-start": ({"ECHO_EXIT": "1"}, ("web-1: echo/", "does not stay up", "echo: ECHO_EXIT is set: not starting")),
    "answers-500": ({"ECHO_FAIL": "1"}, ("web-1: /healthz answers 500, not 200", "was not healthy in time (5 s)")),
    "flaps": ({"ECHO_FLAP": "2"}, ("web-1: ", "was not healthy in time (5 s)")),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_release_never_takes_traffic(faulty: Faulty, name: str) -> None:
    environ, words = BAD[name]
    before = faulty.certified
    with faulty.watched() as watch:
        done = faulty.ship(name, ok=(5,), **environ)
    for word in (*words, "was turned round in prod", f"{before} serves as before", "receipt "):
        assert word in done.stderr, done.stderr
    watch.require_nothing_lost(before)
    faulty.require_well(before)


def test_a_bad_release_is_not_shipped_again_without_a_reason(faulty: Faulty) -> None:
    before = faulty.certified
    done = faulty.ship("answers-500", ok=(2,))
    assert "failed in prod before" in done.stderr
    assert "to try it once more add --again 'why'" in done.stderr
    again = faulty.estate.run(*faulty.words("answers-500"), "--again", "the cause is gone", ok=(5,))
    receipt = faulty.estate.run("receipt", again.stderr.split("receipt ")[-1].split()[0], ok=(0, 1)).stdout
    assert ": a release that had failed here before, once more: the cause is gone" in receipt
    assert "web-1  failed" in receipt
    faulty.require_well(before)


def test_a_release_that_is_healthy_and_answers_500_is_found_by_the_probe(faulty: Faulty) -> None:
    before = faulty.certified
    target = faulty.artifact("fails-later", ECHO_FAIL="")
    plain = (target / "plain.py").read_text()
    (target / "plain.py").write_text(plain.replace('case "/fail":', 'case "/fail" | "/probed":'))
    with faulty.watched() as watch:
        done = faulty.ship("fails-later", ok=(5,))
    for word in ("the probe lost ", "GET /probed unexpected status 500", "was turned round in prod", f"{before} serves as before"):
        assert word in done.stderr, done.stderr
    assert watch.result is not None
    assert watch.result.lost == 0, watch.result.losses
    faulty.require_well(before)


@pytest.mark.parametrize("service", JUDGED)
def test_a_release_is_judged_by_a_command_or_a_connection(faulty: Faulty, service: str) -> None:
    good, bad, words = JUDGED[service]
    judged = replace(faulty, service=service, host=faulty.host.replace("echo", service))
    brought(judged.artifact(f"{service}-good"), good)
    judged.ship(f"{service}-good")
    before = faulty.estate.certified("prod", service)
    brought(judged.artifact(f"{service}-bad"), {**good, **bad})
    with judged.watched() as watch:
        done = judged.ship(f"{service}-bad", ok=(5,))
    for word in (*words, "was not healthy in time (5 s)", "was turned round in prod", f"{before} serves as before"):
        assert word in done.stderr, done.stderr
    watch.require_nothing_lost(before)
    judged.require_well(before)
    brought(judged.artifact(f"{service}-newer"), good)
    judged.ship(f"{service}-newer")
    after = faulty.estate.certified("prod", service)
    assert after != before
    judged.require_well(after)


def brought(artifact: Path, files: dict[str, str]) -> None:
    """Have an artifact bring these files."""
    for name, text in files.items():
        (artifact / name).write_text(text)


def test_a_first_release_that_fails_leaves_our_page_and_says_so(faulty: Faulty) -> None:
    before = faulty.certified
    artifact = faulty.artifact("never", ECHO_EXIT="1")
    with faulty.watched() as watch:
        done = faulty.estate.run("ship", "newcomer", "--artifact", str(artifact), ok=(5,))
    assert "nothing of newcomer was certified here yet, so its route answers 503 with our page" in done.stderr
    assert "ECHO_EXIT is set" in done.stderr
    answer = curl(faulty.estate, faulty.host.replace("echo", "newcomer"), faulty.port, "/", "-w", "\n%{http_code}").stdout
    assert answer.endswith("\n503")
    assert "<html" in answer.lower()
    watch.require_nothing_lost(before)
    faulty.require_well(before)
