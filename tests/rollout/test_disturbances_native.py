"""That a tier was killed is seen at every moment until it is back, with a real supervisord (docs/rollout.md, the way back)."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from manor.integrations.supervisors.base import Program
from manor.integrations.supervisors.supervisor import product
from manor.rollout.disturbances import look_for_processes, parse_processes, word_of
from tests.integrations.supervisors.supervisor.acting import Host, is_alive, local_host, run, until
from tests.integrations.supervisors.supervisor.support import host_of

pytestmark = pytest.mark.native

WITH_WORKER = "(trap 'sleep 2; kill $!; exit' TERM; sleep 60 & wait) & exec sleep 61"
"""A worker that goes on for two seconds after it was asked to end, as one with requests under way does."""
FIRST = b"sleep\x0061\x00"


@pytest.fixture
def host() -> Iterator[Host]:
    with tempfile.TemporaryDirectory(prefix="mw") as folder, local_host(host_of(Path(folder))) as made:
        log = made.declared.layout.program_log("tier")
        made.write(Program("tier", ("sh", "-c", WITH_WORKER), "tier/tier", log, stop_seconds=3.0))
        made.start()
        yield made


def command(pid: int) -> bytes:
    """Return the words of a process; none if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def first_of(host: Host) -> int:
    """Return the tier's first process; 0 while there is none, or a wrapper waits."""
    pid = host.views()["tier"].pid or 0
    return pid if command(pid) == FIRST else 0


def word(host: Host, since: float) -> str:
    """Return what is told of the tier, asked as a rollout asks."""
    note = Path(host.declared.layout.program_log_start("tier"))
    return word_of(host.views()["tier"], parse_processes(run(look_for_processes())), time.monotonic() - since, note.read_bytes())


def test_a_killed_tier_is_a_disturbance_until_it_is_back_and_then_a_young_one(host: Host) -> None:
    first = until(lambda: first_of(host))
    time.sleep(1.2)  # what starts again within a second waits: not this one
    began = time.monotonic()
    assert word(host, began) == ""
    began = time.monotonic()
    os.kill(first, signal.SIGKILL)
    told: list[str] = []

    def is_back() -> int:
        told.append(word(host, began))
        return first_of(host)

    assert until(is_back) != first
    assert "" not in told, told
    assert word(host, began).startswith("tier was started again ")


def test_a_tier_that_outlived_its_supervisor_is_none(host: Host) -> None:
    until(lambda: first_of(host))
    began = time.monotonic()
    supervisor = product.parse_pid(host.carry_out(product.pid(host.declared)))
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not is_alive(supervisor))
    host.start()
    log = Path(host.declared.layout.program_log("tier"))
    until(lambda: b"waiting for its end" in log.read_bytes())
    assert word(host, began) == ""
