"""Renders docs/benchmarks.md from what was measured. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench.results import Measured, Report, Result

HEAD = """\
# Benchmarks

Written by `make bench` from [benchmarks.json](benchmarks.json); don't edit it.
How each is measured stands in `bench/`; the peers' configurations, with the page of the manual that they follow, in `bench/peers/`.

Everything runs on one machine: load, tiers, services and controller share its cores.
So absolute numbers are small; the ratios, and zero or not zero, are what counts.
"""


def render(report: Report) -> str:
    """Return the page."""
    missed = [one for one in report.results if one.met is False]
    parts = [
        HEAD,
        "## Results\n",
        table(report.results, report.dates if len(set(report.dates.values())) > 1 else {}),
        "## Goals that are missed\n",
        "".join(f"- **{one.name}**: {' '.join(filter(None, (one.reason, one.note)))}\n" for one in missed) or "None.\n",
        "## How it was measured\n",
        "".join(f"- **{one.name}**{beside(one)}: {one.note}\n" for one in report.results if one.note and one.met is not False),
        "## Machine\n",
        machines(report.runs),
        taken(report.runs),
    ]
    return "\n".join(parts)


def machines(runs: Sequence[Measured]) -> str:
    """Return the machine as a table; a column each where runs were on different ones."""
    distinct = [run.machine for place, run in enumerate(runs) if run.machine not in [earlier.machine for earlier in runs[:place]]]
    measured = [", ".join(name for run in runs if run.machine == machine for name in run.seconds) if len(distinct) > 1 else "" for machine in distinct]
    names = dict.fromkeys(name for machine in distinct for name in machine)
    dates = [spread(run.date for run in runs if run.machine == machine) for machine in distinct]
    rows = [measured, dates, *([machine.get(name, "") for machine in distinct] for name in names)]
    lines = [f"| {' | '.join((name, *row))} |" for name, row in zip(("", "date", *names), rows, strict=True)]
    return "\n".join((lines[0], "|---" * (len(distinct) + 1) + "|", *lines[1:])) + "\n"


def spread(dates: Iterable[str]) -> str:
    """Return one date, or the first and the last."""
    ordered = sorted(dates)
    return ordered[0] if ordered[0] == ordered[-1] else f"{ordered[0]} to {ordered[-1]}"


def taken(runs: Sequence[Measured]) -> str:
    """Return how long it took; of what was measured in several runs, run by run: together they are none."""
    if len(runs) == 1:
        return f"The whole run took {sum(runs[0].seconds.values()) / 60:.0f} minutes.\n"
    told = (f"- {run.began}: {', '.join(f'{name} {seconds:.0f} s' for name, seconds in run.seconds.items())}\n" for run in runs)
    return "\n".join(("These results come from several runs; no run took the time of all:\n", "".join(told)))


def table(results: Iterable[Result], dates: Mapping[str, str] | None = None) -> str:
    """Return the results as a table; with the day of each where they differ."""
    heads = ("what", "value", "peer", "peer's value", "ratio", "goal", "met", *(["measured"] if dates else []))
    rows = "".join(f"| {' | '.join((*cells(one), *([dates.get(one.benchmark, '')] if dates else [])))} |\n" for one in results)
    return f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|\n{rows}"


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
