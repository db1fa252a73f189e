"""Run the controller: hosted git, pipelines, API and status page."""

from __future__ import annotations

import asyncio
import importlib
import logging
from pathlib import Path

import click

from manor.cli.terminal.options import estate_argument


@click.command("serve")
@estate_argument
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=int, help="Default: the last one used, else the first free one from 7080.")
@click.option("-v", "--verbose", is_flag=True, help="Log what the workers do.")
def command(estate: Path | None, address: str, port: int | None, verbose: bool) -> None:
    """Serve until Ctrl-C. It may be killed at any moment: the next one goes on with everything.

    The first start prints an admin token, once.
    """
    from manor.workflows.context import open_context

    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)-7s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    control = importlib.import_module("manor.web.controller").control
    with open_context(estate) as context:
        asyncio.run(control(context, address, port, click.echo))
