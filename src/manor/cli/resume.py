"""Go on with an operation that stopped half-way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from manor.cli.terminal.options import dry_run_option, estate_option, json_option, wait_option
from manor.cli.terminal.printing import print_result, printer, say_aside
from manor.cli.terminal.running import carrying_out, run, run_changing

if TYPE_CHECKING:
    from manor.state.deliveries import Delivery
    from manor.state.operations import Operation
    from manor.workflows.context import Context


@click.command("resume")
@click.argument("operation", required=False, default="")
@estate_option
@click.option("-e", "--environment", default="", help="Only in this environment.")
@click.option("--only", type=click.Choice(["failed"]), default=None, help="Of an operation that has ended: only the hosts that failed or were unreachable.")
@wait_option
@dry_run_option
@json_option
def command(operation: str, estate: Path | None, environment: str, only: str | None, wait_seconds: float, dry_run: bool, as_json: bool) -> None:
    """Go on with OPERATION: an id of an operation or a delivery, a service, or nothing if only one is unfinished.

    What was done is not done again; what was begun is looked at first. A delivery goes on into the environments that follow, as it would have.
    """
    if only and dry_run:
        raise click.UsageError("--only has no --dry-run; `manor receipt` and `manor status` tell which hosts failed")
    if only:
        again(operation, estate, environment, wait_seconds, as_json=as_json)
        return
    from manor.cli.terminal.plans import foreseen_printer
    from manor.state.operations import Operation
    from manor.workflows.deliveries import delivery_of, go_on
    from manor.workflows.delivery import summary_lines
    from manor.workflows.finding_receipts import verdict_of
    from manor.workflows.foreseeing import foresee_resume
    from manor.workflows.resuming import require_ended_well, resume_operation
    from manor.workflows.snapshots import open_in_need

    with open_in_need(estate, say_aside, dry_run=dry_run) as context:
        tell = printer(as_json=as_json)
        found = find(context, operation, environment, dry_run=dry_run)
        delivery = run(lambda stop: delivery_of(context, found)) if isinstance(found, Operation) else found
        if dry_run:
            run(lambda stop: foresee_resume(context, found, delivery, foreseen_printer(as_json=as_json)))
            return
        if isinstance(found, Operation) and delivery is None:
            result = run_changing(context, lambda stop: resume_operation(context, found, carrying_out(stop, tell, wait_seconds)))
            mend_receipts(context)
            require_ended_well(result)
            shown = {"operation": found.id, "state": result.operation.state, "hosts": result.hosts}
            told = run(lambda stop: verdict_of(context, found.id)) or result.operation.summary
            print_result(shown, as_json=as_json, text=f"{found.id}: {told or result.operation.state}")
        elif delivery is not None:
            identifier = delivery.id
            delivered = run_changing(context, lambda stop: go_on(context, identifier, carrying_out(stop, tell, wait_seconds), by_person=True))
            mend_receipts(context)
            for one, line in zip(delivered, summary_lines(delivered), strict=True):
                print_result(vars(one), as_json=as_json, text=line)


def find(context: Context, named: str, environment: str, *, dry_run: bool) -> Operation | Delivery:
    """Return what is to be gone on with; receipts that are missing are written also where there is nothing."""
    from manor.errors import UsageError
    from manor.workflows.deliveries import find_unfinished

    try:
        return run(lambda stop: find_unfinished(context, named, environment=environment))
    except UsageError:
        if not dry_run:
            mend_receipts(context)
        raise


def mend_receipts(context: Context) -> None:
    """Write the receipts that ended rollouts lack; only when nobody waits for a decision any more."""
    from manor.workflows.receipts import write_missing_receipts

    for line in run(lambda stop: write_missing_receipts(context)):
        say_aside(line)


def again(named: str, estate: Path | None, environment: str, wait_seconds: float, *, as_json: bool) -> None:
    """Go on with the hosts that failed in an operation that has ended."""
    from manor.workflows.delivery import line_of
    from manor.workflows.orphans import APPLY
    from manor.workflows.retrying import apply_failed, find_ended, return_failed
    from manor.workflows.snapshots import open_in_need

    with open_in_need(estate, say_aside) as context:
        tell = printer(as_json=as_json)
        found = run(lambda stop: find_ended(context.store, named, environment=environment))
        if found.operation.verb != APPLY:
            one = run_changing(context, lambda stop: return_failed(context, found, carrying_out(stop, tell, wait_seconds)))
            print_result(vars(one), as_json=as_json, text=line_of(one))
            return
        result = run_changing(context, lambda stop: apply_failed(context, found, carrying_out(stop, tell, wait_seconds)))
        name = found.operation.environment
        told = "nothing to do on what had failed; all is as declared there" if result is None else f"applied, operation {result.operation.id}"
        shown = {"environment": name, "changed": result is not None, "hosts": {} if result is None else result.hosts}
        print_result(shown, as_json=as_json, text=f"{name}: {told}")
