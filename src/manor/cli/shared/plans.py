"""How a plan is shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import click

from manor.estate.layout import short
from manor.reconcile.plan import Action, Change, Plan

COLOURS = {Action.CREATE: "green", Action.START: "green", Action.DELETE: "red", Action.STOP: "red"}


def plan_lines(plan: Plan, *, with_diff: bool) -> Iterator[str]:
    """Yield a plan's lines for people."""
    if plan.is_empty:
        yield f"{plan.environment}: nothing to do; all is as declared (plan {short(plan.hash)})"
    for change in plan.changes:
        yield change_line(plan.environment, change)
        if with_diff and change.diff:
            yield "\n".join(f"      {diff_line(line)}" for line in change.diff.splitlines())
    for host, why in plan.unreachable:
        yield click.style(f"  {plan.environment}/{host}  unreachable: {why}", fg="red")
    if not plan.is_empty:
        count = "1 change" if len(plan.changes) == 1 else f"{len(plan.changes)} changes"
        yield f"{plan.environment}: {count} · carry out just this with `manor apply -e {plan.environment} --plan {short(plan.hash)}`"


def change_line(environment: str, change: Change) -> str:
    """Return the line of one change."""
    word = click.style(f"{change.action:<8}", fg=COLOURS.get(change.action, "yellow"))
    return f"  {f'{environment}/{change.host}':<18} {word} {change.what}{'  (destructive)' if change.is_destructive else ''}"


def diff_line(line: str) -> str:
    """Return a line of a diff, coloured as diffs are."""
    colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
    return click.style(line, fg=colour) if colour else line


def plan_object(plan: Plan) -> dict[str, Any]:
    """Return a plan for programs."""
    changes = [dataclasses.asdict(change) for change in plan.changes]
    return {"environment": plan.environment, "hash": plan.hash, "estate": plan.estate_digest, "changes": changes, "unreachable": dict(plan.unreachable)}
