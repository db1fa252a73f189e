"""Show what services and tiers wrote, of all hosts together."""

from __future__ import annotations

import dataclasses
import json
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from manor.cli.terminal.options import environment_option, estate_option, json_option
from manor.cli.terminal.printing import say_aside
from manor.cli.terminal.running import run_reading

if TYPE_CHECKING:
    from manor.workflows.log_lines import Line
    from manor.workflows.logs import Logs


@click.command("logs")
@click.argument("name", required=False, default="", metavar="[SERVICE|TIER]")
@estate_option
@environment_option
@click.option("--host", default="", help="Only this host.")
@click.option("--tier", default="", metavar="TIER", help="A tier by role, product or key; needed where a service has the same name.")
@click.option("--slot", type=click.Choice(["a", "b"]), default=None, help="Only this slot.")
@click.option("-n", "--lines", "count", type=click.IntRange(0, 100_000), default=50, show_default=True, help="How many of the last lines.")
@click.option("--follow", is_flag=True, help="Go on with what is written from now on; Ctrl-C ends it.")
@click.option("--access", is_flag=True, help="Requests, from the tiers' access logs; for a service those of the first tier.")
@json_option
def command(
    name: str,
    estate: Path | None,
    environments: tuple[str, ...],
    host: str,
    tier: str,
    slot: str | None,
    count: int,
    follow: bool,
    access: bool,
    as_json: bool,
) -> None:
    """Show logs by time, or one after the other where one tells no times.

    A TIER is meant by its role, its product or its key, e.g. `router`; nothing means every program. A service goes before a tier of the same name.
    """
    if name and tier:
        raise click.UsageError(f"{name!r} and --tier {tier} are two answers to whose log; give one of them")
    from manor.workflows.logs import Wanted, open_logs
    from manor.workflows.snapshots import open_in_need

    with open_in_need(estate, say_aside) as context:
        logs = open_logs(context, environments or tuple(context.estate.environments), Wanted(name, host, slot or "", access, tier))
        run_reading(show(logs, count, follow=follow, as_json=as_json))


async def show(logs: Logs, count: int, *, follow: bool, as_json: bool) -> None:
    """Print what is there, then what comes."""
    for line in await logs.last(count):
        click.echo(as_object(line) if as_json else as_text(line))
    if follow:
        async with aclosing(logs.follow()) as lines:
            async for line in lines:
                click.echo(as_object(line) if as_json else as_text(line))


def as_object(line: Line) -> str:
    """Return a line for programs."""
    return json.dumps({"event": "line", **dataclasses.asdict(line)})


def as_text(line: Line) -> str:
    """Return a line for people."""
    record = line.record
    if record is None:
        return f"{click.style(f'{line.host:<14} {line.source:<24}', dim=True)} {line.text}"
    at = clock(record.time)
    word = f"{record.status:>3} {record.seconds * 1000:8.1f} ms {record.method:<6} {record.host}{record.path}"
    rest = " ".join(part for part in (record.slot and f"slot {record.slot}", record.cache, record.request_id) if part)
    return f"{at} {click.style(f'{line.host:<14} {line.source:<20}', dim=True)} {word}  {click.style(rest, dim=True)}"


def clock(moment: float) -> str:
    """Return a time of day in UTC with milliseconds."""
    import datetime

    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%H:%M:%S.%f")[:-3]
