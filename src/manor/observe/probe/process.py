"""The probe as a process of its own: a rollout's proof goes on when its controller is killed.

It ends when its stop file appears, at its deadline, or on SIGTERM, always after the requests in flight have ended.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
import time
from pathlib import Path

from pydantic import ValidationError

from manor.observe.probe.engine import Probe
from manor.observe.probe.model import Outcome, ProbeConfig
from manor.observe.probe.results import ResultsFile, header_line, outcome_line

FLUSH_SECONDS = 1.0
LOOK_SECONDS = 0.1


def argv(config_path: str, python: str = sys.executable) -> tuple[str, ...]:
    """Return the command that runs a probe process; give it to a runner as a detached program."""
    return (python, "-m", "manor.observe.probe", config_path)


def main(arguments: list[str]) -> int:
    """Run until stopped. Returns 0, or 2 with the reason on standard error."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m manor.observe.probe CONFIG.json\n")
        return 2
    try:
        config = ProbeConfig.model_validate_json(Path(arguments[0]).read_bytes())
    except (OSError, ValidationError) as error:
        sys.stderr.write(f"{arguments[0]}: {error}\n")
        return 2
    if config.results is None:
        sys.stderr.write(f"{arguments[0]}: results: missing; say where to write them\n")
        return 2
    raise_file_limit()
    asyncio.run(run_process(config, Path(config.results)))
    return 0


def raise_file_limit() -> None:
    """Allow this process as many connections as the system lets it have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def run_process(config: ProbeConfig, results: Path) -> None:
    """Probe until told to stop, and write what comes of it once a second. Raises OSError if the results can't be opened."""
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    file = ResultsFile(results)
    try:
        await record(config, file, ending)
    finally:
        file.close()


async def record(config: ProbeConfig, file: ResultsFile, ending: asyncio.Event) -> None:
    """Probe until the end, one line a second."""
    fresh: list[Outcome] = []
    probe = Probe(config, fresh.append)
    await probe.start()  # first: whoever sees the header line counts on requests from then on
    await asyncio.to_thread(file.append, header_line(config, time.time()))
    while not await is_over(config, ending, FLUSH_SECONDS):
        probe.check()
        await flush(file, probe, fresh, ended=False)
    await probe.stop()
    await flush(file, probe, fresh, ended=True)


async def is_over(config: ProbeConfig, ending: asyncio.Event, seconds: float) -> bool:
    """Look for so long whether to end."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if ending.is_set() or is_stopped(config, time.time()):
            return True
        await asyncio.sleep(LOOK_SECONDS)
    return False


def is_stopped(config: ProbeConfig, now: float) -> bool:
    """Tell whether the stop file is there or the deadline is past."""
    has_stop_file = config.stop_file is not None and Path(config.stop_file).exists()
    return has_stop_file or (config.deadline is not None and now >= config.deadline)


async def flush(file: ResultsFile, probe: Probe, fresh: list[Outcome], *, ended: bool) -> None:
    """Write what is new. On a full disk it waits in memory for the next time; at the end the error is raised."""
    taken = fresh[:]
    fresh.clear()
    line = outcome_line(time.time(), taken, probe.in_flight, probe.unsent, ended=ended)
    try:
        await asyncio.to_thread(file.append, line)
    except OSError as error:
        if ended:
            raise
        sys.stderr.write(f"results can't be written, kept in memory for now: {error}\n")
