"""Run the controller: hosted git, pipelines, API and status page."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from manor.cli.terminal.options import estate_argument, json_option
from manor.cli.terminal.outlet import Outlet
from manor.cli.terminal.printing import event_object
from manor.operations.events import Listener, silent

if TYPE_CHECKING:
    from manor.workflows.serving import Serving


@click.command("serve")
@estate_argument
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=int, help="Default: the last one used, else the first free one from 7080.")
@click.option("-v", "--verbose", is_flag=True, help="Log what the workers do.")
@json_option
def command(estate: Path | None, address: str, port: int | None, verbose: bool, as_json: bool) -> None:
    """Serve until Ctrl-C. It may be killed at any moment: the next one goes on with everything.

    The first start prints an admin token, once.
    """
    from manor.workflows.context import open_context

    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)-7s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    control = importlib.import_module("manor.web.controller").control
    with open_context(estate) as context, told(as_json=as_json) as (say, listener):
        asyncio.run(control(context, address, port, say, listener))


@contextmanager
def told(*, as_json: bool) -> Iterator[tuple[Callable[[Serving], None], Listener]]:
    """Give what prints where it listens, and what prints events: nothing for people, who read the log; for programs objects, and a result at the end."""
    if not as_json:
        yield say, silent
        return
    outlet, seen = Outlet(), []

    def say_object(serving: Serving) -> None:
        seen.append({"estate": serving.estate, "url": serving.url})
        outlet.put(json.dumps({"event": "serving", **seen[-1], **first_token(serving)}))

    try:
        yield say_object, lambda event: outlet.put(event_object(event))
        for ended in seen:
            outlet.put(json.dumps({"event": "result", **ended}))
    finally:
        outlet.close()


def say(serving: Serving) -> None:
    """Tell a person where it listens, and the first token once."""
    if serving.first_admin_token is not None:
        click.echo(f"first admin token, shown this once: {serving.first_admin_token.value}")
    click.echo(f"serving {serving.estate} on {serving.url}")


def first_token(serving: Serving) -> dict[str, str]:
    """Return the first token for a program, once."""
    return {"first_admin_token": serving.first_admin_token.value} if serving.first_admin_token is not None else {}
