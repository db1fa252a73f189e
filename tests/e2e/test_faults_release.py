"""Releases that are no good: the old one serves on, and the message says why (docs/faults.md)."""

from __future__ import annotations

from collections.abc import Callable
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
"""

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
