"""Tests without a marker are refused processes, connections and sleep, whoever swallows it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests import quiet

ACTS: dict[str, Callable[[], object]] = {
    "subprocess.Popen": lambda: subprocess.run([sys.executable, "-V"], check=True),
    "os.system": lambda: os.system("true"),
    "os.fork": os.fork,
    "os.posix_spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "socket.connect": lambda: socket.create_connection(("127.0.0.1", 9), 1),
    "time.sleep": lambda: time.sleep(0.001),
}


@pytest.mark.parametrize("act", sorted(ACTS))
def test_an_act_is_refused_and_told(act: str) -> None:
    with contextlib.suppress(Exception):
        ACTS[act]()
    seen = quiet.take_seen()
    assert seen
    assert seen[0].startswith((act, "socket.getaddrinfo"))
    with pytest.raises(quiet.Loud, match="needs one of the markers native, e2e, crash"):
        ACTS[act]()
    assert len(quiet.take_seen()) == 1


async def test_a_process_of_asyncio_is_refused() -> None:
    with pytest.raises(quiet.Loud):
        await asyncio.create_subprocess_exec(sys.executable, "-V")
    assert quiet.take_seen()


def test_giving_way_is_no_sleep() -> None:
    time.sleep(0)
    assert quiet.take_seen() == []


@pytest.mark.native
def test_with_a_marker_nothing_is_refused() -> None:
    assert subprocess.run(["true"], check=False).returncode == 0
