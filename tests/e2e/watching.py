"""A probe of the tests' own against the front door, and a look for what nobody cares for any more."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from manor.observe.probe.model import Outcome, ProbeConfig, Target
from manor.observe.probe.results import read_results
from tests.e2e.estates import LiveEstate, wait_until

LONGEST_SECONDS = 1800.0
SETTLE_SECONDS = 1.0


@dataclass(frozen=True)
class Watcher:
    """A probe that runs beside everything a test does."""

    results: Path

    def outcomes(self, since: float, until: float) -> list[Outcome]:
        """Return what became of the requests that were due within."""
        return [one for one in read_results(self.results).outcomes if since <= one.due < until]

    def losses(self, since: float) -> list[Outcome]:
        """Return what was lost since then, after the last answers were written; hold that enough was asked."""
        until = time.time()
        time.sleep(SETTLE_SECONDS)
        found = self.outcomes(since, until)
        assert len(found) > 5 * (until - since), f"the test's own probe asked only {len(found)} times in {until - since:.0f} s"
        return [one for one in found if one.kind]


def target(estate: LiveEstate, door: tuple[str, int], path: str, rate: float) -> Target:
    """Return a kind of request to a front door, half of them on new connections."""
    return Target(
        name=f"{door[0]}{path}", address="127.0.0.1", port=door[1], host=door[0], rate=rate, paths=(path,), ca_file=str(estate.authority), expected=(200,)
    )


@contextmanager
def watched(folder: Path, targets: Sequence[Target]) -> Iterator[Watcher]:
    """Ask all the time while the body runs."""
    folder.mkdir(parents=True, exist_ok=True)
    results, stop, config = folder / "results.jsonl", folder / "stop", folder / "config.json"
    asked = ProbeConfig(targets=tuple(targets), results=str(results), stop_file=str(stop), deadline=time.time() + LONGEST_SECONDS)
    config.write_text(asked.model_dump_json())
    process = subprocess.Popen([sys.executable, "-m", "manor.observe.probe", str(config)], env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
    try:
        wait_until(lambda: results.exists() and results.stat().st_size and read_results(results).outcomes, 20, "the first answer to the test's own probe")
        yield Watcher(results)
    finally:
        stop.touch()
        try:
            process.wait(20)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(5)


def processes_of(folder: Path) -> dict[int, str]:
    """Return the command lines of processes that work in a folder or name it in their arguments, but for ourselves."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            words, place = command_line(entry), working_folder(entry)
            if words and (str(folder) in words or place.is_relative_to(folder)):
                found[int(entry.name)] = words
    return found


def command_line(entry: Path) -> str:
    """Return a process's command line; empty if it is gone."""
    try:
        return (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return ""


def working_folder(entry: Path) -> Path:
    """Return a process's working folder; `/` if it is gone."""
    try:
        return (entry / "cwd").readlink()
    except OSError:
        return Path("/")
