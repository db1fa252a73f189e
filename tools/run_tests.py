"""Runs the tests of one marker within a time limit; a marker without tests fails: none is left untested in silence.

Usage: .venv/bin/python -m tools.run_tests {default|thorough|native|e2e|crash} LIMIT_SECONDS [pytest's arguments]
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

NO_TESTS = 5
"""pytest's exit code when nothing was collected: https://docs.pytest.org/en/stable/reference/exit-codes.html."""
GRACE_SECONDS = 60
"""What fixtures get to end what they started, after the limit."""
WORKERS = {"default": 2, "thorough": 2, "native": 3, "e2e": 4, "crash": 2}
"""Processes that share the tests on the two cores that everybody has: tests of real tools wait more than they work."""
CHOSEN: dict[str, list[str]] = {
    "default": [],
    "thorough": ["-m", "thorough or (hypothesis and not native and not e2e and not crash)", "--hypothesis-profile=thorough"],
}
"""How tests are chosen where the marker does not say it all: property tests are sampled by default, and thoroughly done once more."""
WHOLE_FILES = ("native", "e2e", "crash")
"""Markers whose tests share what their file started: a file stays with one worker (`tests/dividing.py`)."""
IN_MEMORY = ("default", "thorough")
"""Markers whose tests start nothing: that what they write is durable is not what they show, so it need not wait for a disk."""
MEMORY = Path("/dev/shm")  # noqa: S108 -- only a place for a folder of our own
ROOM_BYTES = 1 << 30


def pytest_command(marker: str, extra: list[str]) -> list[str]:
    """Return the command that runs the tests of a marker; `default` is what pyproject.toml selects."""
    chosen = CHOSEN.get(marker, ["-m", marker])
    shared = ["-n", str(WORKERS[marker]), "--dist", "loadfile" if marker in WHOLE_FILES else "worksteal"]
    return [sys.executable, "-m", "pytest", "-q", *shared, *chosen, "--durations=15", "--durations-min=5", *extra]


@contextlib.contextmanager
def folder_for(marker: str, memory: Path = MEMORY) -> Iterator[list[str]]:
    """Give pytest's arguments for where tests write: into memory, for as long as they run, where there is room; else where pytest thinks best."""
    if marker not in IN_MEMORY or not has_room(memory):
        yield []
        return
    with tempfile.TemporaryDirectory(prefix="manor-tests-", dir=memory) as folder:
        yield ["--basetemp", f"{folder}/t", "-o", "tmp_path_retention_policy=failed"]


def has_room(folder: Path) -> bool:
    """Return whether a folder can take what tests write."""
    if not os.access(folder, os.W_OK):
        return False
    free = os.statvfs(folder)
    return free.f_bavail * free.f_frsize >= ROOM_BYTES


def run_bounded(command: list[str], limit_seconds: float) -> int:
    """Return the exit code; past the limit interrupt, wait for the fixtures, kill, and return 124."""
    with subprocess.Popen(command) as process:
        try:
            return process.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            print(f"the limit of {limit_seconds:.0f} s is over: interrupting", file=sys.stderr, flush=True)
            process.send_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pass
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    return 124


def main(marker: str, limit_seconds: str, *extra: str) -> int:
    """Run, and say so when there was nothing to run."""
    with folder_for(marker) as place:
        code = run_bounded(pytest_command(marker, [*place, *extra]), float(limit_seconds))
    if code == NO_TESTS:
        print(f"no tests are marked {marker}, or they were not found", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
