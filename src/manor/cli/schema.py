"""Print the JSON Schema of the estate file, or its reference."""

from __future__ import annotations

import json

import click

from manor.cli.terminal.options import json_option


@click.command("schema")
@click.option("--reference", is_flag=True, help="The reference for people, as Markdown.")
@json_option
def command(reference: bool, as_json: bool) -> None:
    """Print the JSON Schema (draft 2020-12) of `estate.yaml`, for editors and other checkers. With --json on one line."""
    if reference:
        from manor.estate.reference import render_reference

        text = render_reference()
        click.echo(json.dumps({"event": "result", "markdown": text}) if as_json else text, nl=as_json)
        return
    from manor.estate.schema import estate_schema

    schema = estate_schema()
    click.echo(json.dumps({"event": "result", "schema": schema}) if as_json else json.dumps(schema, indent=2, ensure_ascii=False))
