"""Prints what goes on: one line an action for people, one object a line for programs."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

import click

from manor.operations.events import Event, Listener, What

STYLES = {What.FAILED: "red", What.REVERTING: "yellow", What.PAUSED: "yellow", What.RECOVERED: "yellow", What.ENDED: "green"}
QUIET = {What.INTENT}
SHORTEST_SHOWN = 0.05
"""Seconds; what took less bears no time."""


def printer(*, as_json: bool) -> Listener:
    """Return what prints events as they come."""
    began = time.monotonic()

    def as_line(event: Event) -> None:
        if event.what in QUIET:
            return
        stamp = click.style(f"{time.monotonic() - began:7.1f}", dim=True)
        click.echo(f"{stamp}  {click.style(columns(event), fg=STYLES.get(event.what))}")

    return (lambda event: click.echo(event_object(event))) if as_json else as_line


def event_object(event: Event) -> str:
    """Return an event as a line of JSON."""
    told = {key: value for key, value in dataclasses.asdict(event).items() if key != "what" and (key != "hosts" or value)}
    return json.dumps({"event": event.what, **told})


def columns(event: Event) -> str:
    """Return an event as a line whose host, kind and text stand below those of the other lines."""
    is_told_apart = event.kind and event.what not in {What.DONE, What.SAID}
    said = event.text.partition(":")[0] + not_ok(event) if event.what is What.ENDED else event.text  # why it ended is the verb's last line
    text = f"{event.what}: {said}" if is_told_apart else said
    took = f"in {event.seconds:.1f} s" if event.seconds >= SHORTEST_SHOWN else ""
    return f"{event.host:<14}  {event.kind or event.what:<11}  {text}  {took}".rstrip()


def not_ok(event: Event) -> str:
    """Return the hosts that did not come off well, e.g. ` · web-2 failed, web-3 skipped`; nothing where all did."""
    found = ", ".join(f"{host} {outcome}" for host, outcome in event.hosts.items() if outcome != "ok")
    return f" · {found}" if found else ""


def print_result(result: Any, *, as_json: bool, text: str) -> None:
    """Print the end of a verb: a sentence, or an object."""
    if as_json:
        click.echo(json.dumps({"event": "result", **result}, default=str))
    elif text:
        click.echo(text)


def say_aside(text: str) -> None:
    """Tell a person what is no result, on standard error."""
    click.echo(text, err=True)
