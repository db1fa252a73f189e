"""Runs the benchmarks and writes docs/benchmarks.json, and docs/benchmarks.md from it.

Usage: .venv/bin/python -m bench.run [--only NAME ...] [--quick] [--render]

`--quick` does each thing a few times only, prints what it found and writes nothing. `--only` replaces the results of those benchmarks.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import time
import traceback
from datetime import UTC, datetime

from bench import results
from bench.machine import describe
from bench.report import render, table
from bench.results import FILE, PAGE, Measured, Report, Result
from bench.stage import stage

BENCHMARKS = ("rollouts", "idle", "throughput", "fifty", "crash", "controller", "steps", "checks", "help")


def main(argv: list[str]) -> int:
    """Return 0, 130 after Ctrl-C, or 1 when a benchmark could not be carried out; a goal that is missed is no failure."""
    parser = argparse.ArgumentParser("bench.run", description="Measures Manor beside its peers.")
    parser.add_argument("--only", action="append", choices=BENCHMARKS, metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="few repetitions; nothing is written")
    parser.add_argument("--render", action="store_true", help="measure nothing; write the page anew from what was measured")
    chosen = parser.parse_args(argv)
    if chosen.render:
        PAGE.write_text(render(results.from_json(FILE.read_text())))
        return 0
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        report, failed = measure(chosen.only or BENCHMARKS, quick=chosen.quick)
    except KeyboardInterrupt:
        print("interrupted; everything is taken down, nothing is written", file=sys.stderr)
        return 130
    print(table(report.results))
    for one in report.results:
        print(f"- {one.name}: {' '.join(filter(None, (one.reason, one.note)))}")
    print(f"{sum(report.seconds.values()):.0f} s in all")
    if not chosen.quick:
        write(report)
    return 1 if failed else 0


def measure(names: tuple[str, ...] | list[str], *, quick: bool) -> tuple[Report, list[str]]:
    """Carry benchmarks out one after the other; return what they found, and which could not be carried out."""
    found: list[Result] = []
    seconds: dict[str, float] = {}
    began = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    failed: list[str] = []
    for name in names:
        print(f"{name}:", flush=True)
        begin = time.monotonic()
        try:
            found += measure_one(name, quick=quick)
            seconds[name] = round(time.monotonic() - begin, 1)
        except Exception:  # noqa: BLE001 - the others are still worth measuring; the exit code tells
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: {time.monotonic() - begin:.0f} s", flush=True)
    return Report(tuple(found), (Measured(began, describe(), seconds),)), failed


def measure_one(name: str, *, quick: bool) -> list[Result]:
    """Carry one out on a stage of its own."""
    with stage(quick=quick) as made:
        rows: list[Result] = importlib.import_module(f"bench.{name}").measure(made)
        return rows


def write(report: Report) -> None:
    """Write both files; benchmarks that were not measured now keep their results."""
    before = results.from_json(FILE.read_text()) if FILE.exists() else Report()
    whole = before.with_newer(report).in_order(BENCHMARKS)
    FILE.write_text(results.to_json(whole))
    PAGE.write_text(render(whole))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
