"""Runs format, lint, types, imports and the default tests side by side, and shows them one after another.

Usage: .venv/bin/python -m tools.check FOLDER...

Invariant: what is shown is what each would have shown alone, in the order of `checks`; one that fails does not keep the others from being shown.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

BIN = Path(sys.executable).parent
LIMIT_SECONDS = 300.0
"""For each; the tests have a limit of their own below it."""
LOOK_SECONDS = 0.05
GRACE_SECONDS = 60.0
"""What one gets to end, with what it started, when it was told to."""


def checks(folders: Iterable[str]) -> list[list[str]]:
    """Return the commands, quick ones first."""
    code = [*folders]
    return [
        [f"{BIN}/ruff", "format", "--check", *code],
        [f"{BIN}/ruff", "check", *code],
        [f"{BIN}/mypy"],
        [f"{BIN}/lint-imports"],
        [f"{BIN}/python", "-m", "tools.run_tests", "default", "240"],
    ]


def main(*folders: str) -> int:
    """Run all, show all, name those that failed."""
    failed = run(checks(folders))
    for command in failed:
        print(f"check: failed: {shlex.join(command)}", file=sys.stderr, flush=True)
    return 1 if failed else 0


def run(commands: Sequence[list[str]], limit_seconds: float = LIMIT_SECONDS) -> list[list[str]]:
    """Run commands at the same time; return those that failed or were not done within the limit."""
    with contextlib.ExitStack() as started:
        running = [started.enter_context(_started(command)) for command in commands]
        deadline = time.monotonic() + limit_seconds
        return [command for command, (process, log) in zip(commands, running, strict=True) if show(command, process, log, deadline) != 0]


def show(command: list[str], process: subprocess.Popen[bytes], log: IO[bytes], deadline: float) -> int | None:
    """Print a command and what it says, as it says it, until it ends. Returns its exit code, or None past the deadline."""
    print(shlex.join(command), flush=True)
    while True:
        code, is_late = process.poll(), time.monotonic() > deadline  # before reading: nothing is said after the end
        sys.stdout.buffer.write(log.read())
        sys.stdout.buffer.flush()
        if code is not None:
            return code
        if is_late:
            print(f"check: not done in time: {shlex.join(command)}", file=sys.stderr, flush=True)
            return None
        time.sleep(LOOK_SECONDS)


@contextlib.contextmanager
def _started(command: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    with tempfile.NamedTemporaryFile() as log, Path(log.name).open("rb") as said:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            yield process, said
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
