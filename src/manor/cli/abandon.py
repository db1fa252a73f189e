"""Give up an operation that stopped half-way."""

from __future__ import annotations

from pathlib import Path

import click

from manor.cli.terminal.options import estate_option, json_option
from manor.cli.terminal.printing import print_result, printer, say_aside
from manor.cli.terminal.running import actor, run


@click.command("abandon")
@click.argument("operation")
@estate_option
@click.option("--reason", required=True, help="Why; kept in the audit.")
@json_option
def command(operation: str, estate: Path | None, reason: str, as_json: bool) -> None:
    """Give OPERATION (an id of an operation or a delivery, or a service) up where it stands; nothing is turned back."""
    from manor.state.operations import Operation
    from manor.workflows.abandoning import abandon_delivery, abandon_operation
    from manor.workflows.deliveries import find_unfinished
    from manor.workflows.snapshots import open_in_need

    with open_in_need(estate, say_aside) as context:
        tell = printer(as_json=as_json)
        found = run(lambda stop: find_unfinished(context, operation))
        if isinstance(found, Operation):
            ended = run(lambda stop: abandon_operation(context, found, reason, actor(), tell))
            print_result({"operation": ended.id, "state": ended.state}, as_json=as_json, text=f"{ended.id}: abandoned; see `manor status` for what it left")
        else:
            given_up = run(lambda stop: abandon_delivery(context, found, reason, actor()))
            text = f"{given_up.id}: abandoned; it goes into no further environment"
            print_result({"delivery": given_up.id, "state": given_up.state}, as_json=as_json, text=text)
