"""Runs the tests of one marker within a time limit; a marker without tests fails: none is left untested in silence.

Usage: .venv/bin/python -m tools.run_tests {default|thorough|native|e2e|crash} LIMIT_SECONDS [pytest's arguments]
"""

from __future__ import annotations

import signal
import subprocess
import sys

NO_TESTS = 5
"""pytest's exit code when nothing was collected: https://docs.pytest.org/en/stable/reference/exit-codes.html."""
GRACE_SECONDS = 60
"""What fixtures get to end what they started, after the limit."""


WORKERS = 2
"""Processes that share the tests: most wait more than they work, and two cores are what everybody has."""
WHOLE_FILES = ("native", "e2e", "crash")
"""Markers whose tests share what their file started: a file stays with one worker."""


def pytest_command(marker: str, extra: list[str]) -> list[str]:
    """Return the command that runs the tests of a marker; `default` is what pyproject.toml selects."""
    chosen = [] if marker == "default" else ["-m", marker]
    shared = ["-n", str(WORKERS), "--dist", "loadfile" if marker in WHOLE_FILES else "worksteal"]
    return [sys.executable, "-m", "pytest", "-q", *shared, *chosen, "--durations=15", "--durations-min=5", *extra]


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
    code = run_bounded(pytest_command(marker, list(extra)), float(limit_seconds))
    if code == NO_TESTS:
        print(f"no tests are marked {marker}, or they were not found", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
