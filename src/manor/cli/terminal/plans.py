"""How a plan is shown, and what a verb would do."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from manor.cli.terminal.printing import print_result
from manor.estate.layout import short
from manor.estate.units import counted
from manor.reconcile.plan import Action, Change, Plan

if TYPE_CHECKING:
    from manor.workflows.foreseeing import Foreseen

COLOURS = {Action.CREATE: "green", Action.START: "green", Action.DELETE: "red", Action.STOP: "red"}


def plan_lines(plan: Plan, *, with_diff: bool) -> Iterator[str]:
    """Yield a plan's lines for people: what it comes to, each change, and how to carry it out."""
    yield summary_line(plan)
    for change in plan.changes:
        yield change_line(plan, change)
        if with_diff and change.diff:
            yield "\n".join(f"      {diff_line(line)}" for line in change.diff.splitlines())
    for host, why in plan.unreachable:
        yield click.style(f"  {plan.environment}/{host}  unreachable: {why}", fg="red")
    for risk in plan.risks:
        yield click.style(f"  risk: {risk} (docs/apply.md)", fg="yellow")
    if not plan.is_empty:
        yield f"{plan.environment}: carry out just this with `manor apply -e {plan.environment} --plan {short(plan.hash)}`"


def summary_line(plan: Plan) -> str:
    """Return how much is to change, on how many hosts, and whether anything is lost by it."""
    if plan.is_empty:
        return f"{plan.environment}: nothing to do; all is as declared (plan {short(plan.hash)})"
    destructive = sum(change.is_destructive for change in plan.changes)
    hosts = counted(len({change.host for change in plan.changes}), "host")
    return f"{plan.environment}: {counted(len(plan.changes), 'change')} on {hosts}, {f'{destructive} of them' if destructive else 'none'} destructive"


def change_line(plan: Plan, change: Change) -> str:
    """Return the line of one change; files are named from the host's root on."""
    word = click.style(f"{change.action:<8}", fg=COLOURS.get(change.action, "yellow"))
    root = plan.roots.get(change.host, "")
    what = change.what.removeprefix(f"{root}/") if root else change.what
    return f"  {f'{plan.environment}/{change.host}':<18} {word} {what}{'  (destructive)' if change.is_destructive else ''}"


def diff_line(line: str) -> str:
    """Return a line of a diff, coloured as diffs are."""
    colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
    return click.style(line, fg=colour) if colour else line


def plan_object(plan: Plan) -> dict[str, Any]:
    """Return a plan for programs."""
    changes = [dataclasses.asdict(change) for change in plan.changes]
    found = {"environment": plan.environment, "hash": plan.hash, "estate": plan.estate_digest, "changes": changes}
    return {**found, "risks": list(plan.risks), "unreachable": dict(plan.unreachable)}


def foreseen_printer(*, as_json: bool) -> Callable[[Foreseen], None]:
    """Return what prints what would be done in an environment."""
    return lambda found: print_result({"dry_run": True, **dataclasses.asdict(found)}, as_json=as_json, text="\n".join(foreseen_lines(found)))


def foreseen_lines(found: Foreseen) -> Iterator[str]:
    """Yield what would be done in an environment, for people; steps of one stage bear its number once."""
    count = counted(len(found.steps), "step")
    told = ": ".join(part for part in (f"would take {count}" if found.steps else "", found.note) if part)
    yield f"{found.environment or 'this machine'}: {found.verb} {told}" if found.steps else f"{found.environment or 'this machine'}: {told}"
    before = None
    for step in found.steps:
        where = "/".join(part for part in (found.environment, step.host) if part)
        yield f"  {'' if step.stage == before else step.stage:>3}  {where:<18} {step.kind:<16} {step.text}".rstrip()
        before = step.stage
