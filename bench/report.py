"""Renders docs/benchmarks.md from what was measured. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from bench.results import Report, Result

HEAD = """\
# Benchmarks

Written by `make bench` from [benchmarks.json](benchmarks.json); don't edit it.
How each is measured stands in `bench/`; the peers' configurations, with the page of the manual that they follow, in `bench/peers/`.

Everything runs on one machine: load, tiers, services and controller share its cores.
So absolute numbers are small; the ratios, and zero or not zero, are what counts.
"""


def render(report: Report) -> str:
    """Return the page."""
    machine = "".join(f"| {name} | {value} |\n" for name, value in report.machine.items())
    missed = [one for one in report.results if one.met is False]
    parts = [
        HEAD,
        "## Results\n",
        table(report.results),
        "## Goals that are missed\n",
        "".join(f"- **{one.name}**: {one.note}\n" for one in missed) or "None.\n",
        "## How it was measured\n",
        "".join(f"- **{one.name}**{beside(one)}: {one.note}\n" for one in report.results if one.note and one.met is not False),
        "## Machine\n",
        f"| | |\n|---|---|\n{machine}",
        f"The whole run took {sum(report.durations.values()) / 60:.0f} minutes.\n",
    ]
    return "\n".join(parts)


def table(results: Iterable[Result]) -> str:
    """Return the results as a table."""
    rows = "".join(f"| {' | '.join(cells(one))} |\n" for one in results)
    return f"| what | value | peer | peer's value | ratio | goal | met |\n|---|---|---|---|---|---|---|\n{rows}"


def cells(one: Result) -> tuple[str, ...]:
    """Return the cells of a result."""
    ratio = "" if one.ratio is None else f"{one.ratio:.2f}" if one.ratio else "0"
    met = {True: "yes", False: "**no**", None: ""}[one.met]
    theirs = "" if one.peer_value is None else f"{number(one.peer_value)} {one.unit}"
    return (one.name, f"{number(one.value)} {one.unit}", one.peer, theirs, ratio, one.goal, met)


def number(value: float) -> str:
    """Return a number with three digits, or all of a whole one."""
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def beside(one: Result) -> str:
    """Return the peer in words."""
    return f", beside {one.peer}" if one.peer else ""
