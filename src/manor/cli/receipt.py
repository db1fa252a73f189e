"""Show the proof of a rollout, or list the last ones."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from manor.cli.terminal.options import estate_option, json_option
from manor.cli.terminal.printing import print_result, say_aside
from manor.cli.terminal.running import run

if TYPE_CHECKING:
    from manor.rollout.receipt import Receipt
    from manor.state.receipts import ReceiptRow


@click.command("receipt")
@click.argument("named", required=False, default="", metavar="[OPERATION|SERVICE]")
@estate_option
@click.option("-e", "--environment", default="", help="Only this environment.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many are listed.")
@click.option("--all-losses", is_flag=True, help="Every lost request in the text, not the first 50; --json always has all.")
@json_option
def command(named: str, estate: Path | None, environment: str, limit: int, all_losses: bool, as_json: bool) -> None:
    """Show the receipt of an OPERATION, or the last one of a SERVICE: what was lost, as three witnesses saw it; without either, list them."""
    from manor.rollout.receipt_text import LISTED_LOSSES, render_text
    from manor.workflows.finding_receipts import find_receipt, last_receipts, receipt_of
    from manor.workflows.receipts import write_missing_receipts
    from manor.workflows.snapshots import open_in_need

    with open_in_need(estate, say_aside) as context:
        for line in run(lambda stop: write_missing_receipts(context)):
            say_aside(line)
        if named:
            row = run(lambda stop: find_receipt(context, named, environment))
            found = {"operation": row.operation, "receipt": json.loads(row.body)}
            print_result(found, as_json=as_json, text=render_text(receipt_of(row), None if all_losses else LISTED_LOSSES).rstrip("\n"))
            return
        rows = run(lambda stop: last_receipts(context, environment, limit))
        lines = [receipt_line(row, receipt_of(row)) for row in rows]
        listed = [{key: value for key, value in vars(row).items() if key != "body"} for row in rows]
        print_result({"receipts": listed}, as_json=as_json, text="\n".join(lines) or "there are no receipts yet; `manor ship` makes the first")


def receipt_line(row: ReceiptRow, receipt: Receipt) -> str:
    """Return a receipt's line in the list."""
    at = datetime.datetime.fromtimestamp(row.created_at, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
    lost = f"lost {row.lost}" if receipt.probe.has_evidence else "not probed"
    return f"{at}  {row.environment:<10} {row.service:<16} {row.release:<12}  {receipt.state:<11} {lost:<10} {row.operation}"
