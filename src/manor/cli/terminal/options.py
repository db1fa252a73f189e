"""Options that many verbs have, spelled and explained once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

estate_argument = click.argument("estate", required=False, type=click.Path(path_type=Path))
"""`[ESTATE]`: the estate file; default `estate.yaml` here."""

estate_option = click.option(
    "-f", "--file", "estate", type=click.Path(path_type=Path), envvar="MANOR_ESTATE", help="The estate file; default estate.yaml here."
)

environment_option = click.option("-e", "--environment", "environments", multiple=True, help="Only this environment; may be given more than once.")

json_option = click.option("--json", "as_json", is_flag=True, help="Print events and results as JSON, one object a line.")

wait_option = click.option("--wait", "wait_seconds", type=float, default=0.0, metavar="SECONDS", help="Wait so long for a lease that somebody else holds.")

dry_run_option = click.option("--dry-run", "dry_run", is_flag=True, help="Show the steps that would be taken, and change nothing.")
