"""Runs of pipelines: list, look at, follow, cancel, do again."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from manor.cli.terminal.options import estate_option, json_option
from manor.cli.terminal.printing import print_result
from manor.cli.terminal.running import actor, run, run_reading

if TYPE_CHECKING:
    from manor.state.runs import Run
    from manor.workflows.context import Context


class Runs(click.Group):
    """`manor run` is `run list`, and `manor run RUN` is `run show RUN`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put in the word that was left out."""
        is_short = not args or (args[0] not in self.commands and not args[0].startswith("-"))
        return super().parse_args(ctx, ["show" if args else "list", *args] if is_short else args)


@click.group("run", cls=Runs)
def command() -> None:
    """Look at what pushes have started. RUN is an id, its beginning, or a repository (its last run)."""


@command.command("list")
@click.argument("repository", required=False, default="")
@estate_option
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many.")
@json_option
def list_command(repository: str, estate: Path | None, limit: int, as_json: bool) -> None:
    """List runs, newest first."""
    from manor.workflows.context import open_context
    from manor.workflows.showing_runs import recent_runs

    with open_context(estate) as context:
        rows = run(lambda stop: recent_runs(context, repository, limit))
    print_result({"runs": [vars(row) for row in rows]}, as_json=as_json, text="\n".join(map(run_line, rows)) or "no runs yet; a push makes the first")


def run_line(row: Run) -> str:
    """Return a run's line."""
    at = datetime.datetime.fromtimestamp(row.created_at, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
    branch = row.ref.removeprefix("refs/heads/")
    return f"{at}  {row.id}  {row.repository:<16} {branch:<12} {row.commit[:12]}  {row.state:<9}  {row.summary}".rstrip()


@command.command("show")
@click.argument("named", metavar="RUN")
@estate_option
@json_option
def show_command(named: str, estate: Path | None, as_json: bool) -> None:
    """Show a RUN step by step."""
    from manor.workflows.context import open_context
    from manor.workflows.showing_runs import find_run, removed_of, steps_of

    with open_context(estate) as context:
        found = run(lambda stop: find_run(context, named))
        steps = run(lambda stop: steps_of(context, found.id))
        removed = run(lambda stop: removed_of(context, found.id))
    lines = [run_line(found), *(f"  {step.name:<20} {step.state:<9} {took(step.started_at, step.ended_at):>9}  {said}".rstrip() for step, said in steps)]
    lines += [f"  retention: {line}" for line in removed]
    shown = {**vars(found), "steps": [{**vars(step), "result": json.loads(step.result)} for step, _ in steps], "removed": removed}
    print_result(shown, as_json=as_json, text="\n".join(lines))


def took(began: float | None, ended: float | None) -> str:
    """Return how long something took."""
    return f"{ended - began:.1f} s" if began is not None and ended is not None else ""


@command.command("log")
@click.argument("named", metavar="RUN")
@estate_option
@json_option
def log_command(named: str, estate: Path | None, as_json: bool) -> None:
    """Show a RUN's log, and go on while it runs; Ctrl-C only stops watching."""
    from manor.workflows.context import open_context
    from manor.workflows.showing_runs import find_run

    with open_context(estate) as context:
        found = run(lambda stop: find_run(context, named))
        run_reading(follow(context, found.id, as_json=as_json))


async def follow(context: Context, identifier: str, *, as_json: bool) -> None:
    """Print a run's lines until it ends."""
    from manor.workflows.follow import follow_run

    async for line in follow_run(context.store, identifier):
        click.echo(json.dumps({"event": "line", "run": identifier, "text": line}) if as_json else line)


@command.command("cancel")
@click.argument("named", metavar="RUN")
@estate_option
@json_option
def cancel_command(named: str, estate: Path | None, as_json: bool) -> None:
    """Cancel a waiting or running RUN; its steps end within a second. A rollout that it began goes on: see `manor status`."""
    from manor.pipeline.requests import cancel_run
    from manor.workflows.context import open_context
    from manor.workflows.showing_runs import find_run

    with open_context(estate) as context:
        found = run(lambda stop: find_run(context, named))
        ended = run(lambda stop: cancel_run(context.store, found.id, actor()))
    print_result(vars(ended), as_json=as_json, text=run_line(ended))


@command.command("again")
@click.argument("named", metavar="RUN")
@estate_option
@click.option("--from", "from_step", default=None, metavar="STEP", help="From this step on; default whatever did not pass.")
@json_option
def again_command(named: str, estate: Path | None, from_step: str | None, as_json: bool) -> None:
    """Do an ended RUN again; what earlier steps left is used as it is. The controller carries it out."""
    from manor.pipeline.requests import rerun
    from manor.workflows.context import open_context
    from manor.workflows.showing_runs import find_run

    with open_context(estate) as context:
        found = run(lambda stop: find_run(context, named))
        waiting = run(lambda stop: rerun(context.store, found.id, actor(), from_step))
    print_result(vars(waiting), as_json=as_json, text=run_line(waiting))
