"""Load: the project's open-loop probe at a stated rate, and `wrk` as fast as it goes.

`wrk`: https://github.com/wg/wrk
"""

from __future__ import annotations

import re
import statistics
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench.machine import tool
from bench.stage import Stage, end, python, wait_for
from manor.observe.probe import Outcome, ProbeConfig, Recording, Target, read_results
from manor.observe.probe.summary import quantile
from tests.e2e.estates import LiveEstate

RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
TROUBLE = re.compile(r"(Socket errors: .*|Non-2xx or 3xx responses: .*)")
BODY = "name=value&text=0123456789abcdef"


@dataclass
class Load:
    """A probe process that is under way."""

    process: subprocess.Popen[bytes]
    results: Path
    stop_file: Path

    def stop(self) -> Recording:
        """End it after the requests in flight, and return all it saw."""
        self.stop_file.touch()
        self.process.wait(60)
        return read_results(self.results)


def both_ways(estate: LiveEstate, environment: str, *, kept: float, new: float) -> tuple[Target, ...]:
    """Return GET and POST at half the rate each: over kept connections, and over new ones."""
    host, port = estate.front(environment)
    ca_file = str(estate.authority)
    return tuple(
        Target(
            name=f"{method} {lane}",
            address="127.0.0.1",
            port=port,
            host=host,
            ca_file=ca_file,
            method=method,
            paths=("/load",),
            body=BODY if method == "POST" else "",
            rate=rate / 2,
            share_new=share,
        )
        for lane, rate, share in (("kept", kept, 0.0), ("new", new, 1.0))
        for method in ("GET", "POST")
        if rate
    )


def start_load(stage: Stage, name: str, targets: tuple[Target, ...]) -> Load:
    """Start to probe."""
    results, stop_file, config = (stage.folder / f"{name}.{kind}" for kind in ("results", "stop", "json"))
    config.write_text(ProbeConfig(targets=targets, results=str(results), stop_file=str(stop_file)).model_dump_json())
    process = stage.program(python("-m", "manor.observe.probe", str(config)), name)
    wait_for(lambda: results.exists() and results.stat().st_size > 0, 20, "the probe")
    return Load(process, results, stop_file)


def stop_loads(*loads: Load) -> None:
    """End probes whose results nobody wants."""
    for load in loads:
        end(load.process)


@dataclass(frozen=True)
class Seen:
    """What a probe saw, in short."""

    sent: int
    lost: int
    lateness_p99: float
    kinds: str
    p99_seconds: float
    unsent: int

    def __str__(self) -> str:
        """Return it in words."""
        losses = f" ({self.kinds})" if self.kinds else ""
        late = f"the probe itself was late by {self.lateness_p99 * 1000:.0f} ms at its 99th percentile"
        return f"lost {self.lost} of {self.sent}{losses}; p99 {self.p99_seconds * 1000:.0f} ms; {late}"


def seen(recording: Recording) -> Seen:
    """Sum a recording up."""
    outcomes = recording.outcomes
    lost = [one for one in outcomes if one.kind]
    return Seen(
        sent=len(outcomes),
        lost=len(lost),
        lateness_p99=quantile(sorted(one.sent - one.due for one in outcomes), 0.99),
        kinds=", ".join(f"{count} {what}" for what, count in Counter(words(recording, one) for one in lost).most_common(6)),
        p99_seconds=quantile(sorted(one.seconds for one in outcomes), 0.99),
        unsent=recording.unsent,
    )


def words(recording: Recording, outcome: Outcome) -> str:
    """Return what was lost and how."""
    status = f" {outcome.status}" if outcome.status else ""
    return f"{recording.config.targets[outcome.target].name} {outcome.kind}{status}"


def wrk(url: str, *, seconds: float, connections: int, headers: tuple[str, ...] = ()) -> float:
    """Return requests a second over two threads. Raises AssertionError when an answer was bad or missing."""
    words = [tool("wrk"), "-t2", f"-c{connections}", f"-d{seconds:g}s", *(word for header in headers for word in ("-H", header)), url]
    out = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 30, check=True).stdout
    trouble = TROUBLE.search(out)
    assert trouble is None, f"{url}: {trouble.group()}"
    found = RATE.search(out)
    assert found is not None, out
    return float(found.group(1))


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """Return the median of the ratios of runs that followed each other."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
