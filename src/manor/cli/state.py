"""Back the state up, put it back, look at it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from manor.cli.terminal.options import estate_option, json_option
from manor.cli.terminal.printing import print_result


@click.group("state")
def command() -> None:
    """All that Manor remembers: releases, receipts, the audit, artifacts, repositories, the certificate authority (docs/state.md)."""


@command.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@estate_option
@json_option
def backup_command(file: Path, estate: Path | None, as_json: bool) -> None:
    """Write everything into FILE, one tar that only you can read, while all goes on. It holds the authority's key."""
    from manor.state.backup import backup
    from manor.workflows.context import open_context

    with open_context(estate) as context:
        made = backup(context.store, file)
    size = file.stat().st_size
    found = {"file": str(file), "files": len(made.entries), "bytes": size, "state_id": made.state_id, "schema": made.schema}
    print_result(found, as_json=as_json, text=f"{file}: {len(made.entries)} files, {size:,} bytes, schema {made.schema}")


@command.command("restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@estate_option
@click.option("--replace", is_flag=True, help="Also where there is a state; it is kept beside.")
@json_option
def restore_command(file: Path, estate: Path | None, replace: bool, as_json: bool) -> None:
    """Put a backup in the place of the state. Everything is verified before anything is touched."""
    from manor.state.backup import restore
    from manor.workflows.context import find_estate, state_folder

    folder = state_folder(find_estate(estate))
    made = restore(file, folder, replace=replace)
    found = {"folder": str(folder), "files": len(made.entries), "state_id": made.state_id, "schema": made.schema}
    print_result(found, as_json=as_json, text=f"{folder}: restored, {len(made.entries)} files; next: `manor status`, `manor up`")


@command.command("show")
@estate_option
@json_option
def show_command(estate: Path | None, as_json: bool) -> None:
    """Show where the state is, what it holds and how large its parts are."""
    from manor.workflows.context import open_context
    from manor.workflows.state_summary import summarize_state

    with open_context(estate) as context:
        summary = summarize_state(context)
    lines = [f"{summary.folder}  state {summary.state_id}  schema {summary.schema}"]
    lines += [f"  {part.name:<14} {part.files:>8,} files  {part.size_bytes:>16,} bytes" for part in summary.parts]
    lines += [f"  {name:<14} {count:>8,} rows" for name, count in summary.rows]
    print_result(dataclasses.asdict(summary), as_json=as_json, text="\n".join(lines))
