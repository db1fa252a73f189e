"""Follow one request through every tier."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from manor.cli.terminal.options import environment_option, estate_option, json_option
from manor.cli.terminal.printing import print_result
from manor.cli.terminal.running import run
from manor.errors import DifferencesFound

if TYPE_CHECKING:
    from manor.workflows.tracing import Hop


@click.command("trace")
@click.argument("request_id", metavar="ID")
@estate_option
@environment_option
@json_option
def command(request_id: str, estate: Path | None, environments: tuple[str, ...], as_json: bool) -> None:
    """Follow the request with this ID through the access logs of every tier: time per hop, slot and cache. Exit code 1: nobody logged it."""
    from manor.workflows.context import open_context
    from manor.workflows.tracing import trace_request

    with open_context(estate) as context:
        names = environments or tuple(context.estate.environments)
        hops = run(lambda stop: trace_request(context, names, request_id))
    if not hops:
        raise DifferencesFound(f"no tier in {', '.join(names)} has logged {request_id}; tiers write their logs within a second, and rotate them away")
    print_result({"id": request_id, "hops": [dataclasses.asdict(hop) for hop in hops]}, as_json=as_json, text="\n".join(hop_lines(hops)))


def hop_lines(hops: Sequence[Hop]) -> Iterator[str]:
    """Yield the lines of a request for people."""
    first = hops[0].record
    yield f"{first.method} {first.host}{first.path}  {first.service or 'no service'}  {first.request_id}"
    yield f"  {'begins':>9}  {'takes':>9}  {'of its own':>10}  {'':<14} {'tier':<24} status  upstream  slot  cache  ended by"
    for hop in hops:
        record = hop.record
        began, took, own = (f"{seconds * 1000:6.1f} ms" for seconds in (hop.began - hops[0].began, record.seconds, hop.own_seconds))
        place = f"{hop.environment}/{hop.host}"
        upstream = record.upstream_status or "-"
        times = f"{began}  {took}  {own:>10}"
        yield f"  {times}  {place:<14} {hop.tier:<24} {record.status:>6}  {upstream:>8}  {record.slot or '-':<4}  {record.cache or '-':<5}  {record.ended_by}"
