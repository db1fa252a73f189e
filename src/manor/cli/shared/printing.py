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


def printer(*, as_json: bool) -> Listener:
    """Return what prints events as they come."""
    began = time.monotonic()

    def as_line(event: Event) -> None:
        if event.what in QUIET:
            return
        stamp = click.style(f"{time.monotonic() - began:7.1f}", dim=True)
        word = "" if event.what in {What.DONE, What.SAID} else f"{event.what}  "
        click.echo(f"{stamp}  {click.style(word + event.line(), fg=STYLES.get(event.what))}")

    def as_object(event: Event) -> None:
        click.echo(json.dumps({"event": event.what, **{key: value for key, value in dataclasses.asdict(event).items() if key != "what"}}))

    return as_object if as_json else as_line


def print_result(result: Any, *, as_json: bool, text: str) -> None:
    """Print the end of a verb: a sentence, or an object."""
    if as_json:
        click.echo(json.dumps({"event": "result", **result}, default=str))
    elif text:
        click.echo(text)
