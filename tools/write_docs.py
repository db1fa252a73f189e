"""Writes the generated pages: docs/reference.md, docs/verbs.md, and the options in docs/verbs/<verb>.md.

Usage: .venv/bin/python -m tools.write_docs; a test fails when a page is stale.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from manor.cli.main import main as manor
from manor.cli.main import summary
from manor.estate.reference import render_reference

DOCS = Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(r"<!-- options: written by `make docs` -->\n.*?<!-- end of options -->\n", re.DOTALL)


def generated() -> Mapping[Path, str]:
    """Return every page that is written, or partly written, by this tool, as it should be."""
    names = manor.list_commands(click.Context(manor))
    pages = {DOCS / "verbs" / f"{name}.md": page_of(name) for name in names}
    return {DOCS / "reference.md": render_reference(), DOCS / "verbs.md": index(names), **pages}


def index(names: list[str]) -> str:
    """Return the page that lists the verbs."""
    rows = "\n".join(f"| [`{name}`](verbs/{name}.md) | {summary(name)} |" for name in names)
    return f"""# Verbs

Written by `make docs`; don't edit it. Every verb takes `--help`, and `--json`: events as they come and a result at the end, one object a line, and errors as an
object on standard error. Exit codes are the same everywhere: [exit-codes.md](exit-codes.md). The estate file is an argument or `-f`, by default
`estate.yaml` in the current folder; the state folder is `.manor/state` beside it, or what `MANOR_STATE` names.

| verb | does |
|---|---|
{rows}
"""


def page_of(name: str) -> str:
    """Return a verb's page with its options as they are. Raises ValueError for a page without the place for them."""
    path = DOCS / "verbs" / f"{name}.md"
    text = path.read_text()
    if not BLOCK.search(text):
        raise ValueError(f"{path}: has no place for the options; add the two comments as in other pages")
    return BLOCK.sub(lambda _: options_block(name), text, count=1)


def options_block(name: str) -> str:
    """Return the generated part of a verb's page."""
    context = click.Context(manor, info_name="manor")
    command = manor.get_command(context, name)
    if command is None:
        raise ValueError(f"there is no verb {name}")
    parts = "\n".join(command_part(path, one) for path, one in commands(f"manor {name}", command, context))
    return f"<!-- options: written by `make docs` -->\n\n{parts}\n<!-- end of options -->\n"


def commands(path: str, command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    """Yield a command, or all that a group holds, with the words that call each."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        if below is not None:
            yield from commands(f"{path} {name}", below, context)


def command_part(path: str, command: click.Command) -> str:
    """Return the usage of one command and a table of its options."""
    context = click.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    rows = [row(parameter, context) for parameter in command.params if isinstance(parameter, click.Option)]
    return f"`{usage}`\n\n| option | means |\n|---|---|\n" + "\n".join(rows) + "\n"


def row(option: click.Option, context: click.Context) -> str:
    """Return one option's row."""
    names, means = option.get_help_record(context) or ("", "")
    return f"| `{in_table(names)}` | {in_table(means)} |"


def in_table(text: str) -> str:
    """Return a text that does not end its cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def write() -> list[Path]:
    """Write what is stale and return it."""
    stale = [path for path, text in generated().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        path.write_text(generated()[path])
    return stale


if __name__ == "__main__":
    for written in write():
        print(f"{written.relative_to(DOCS.parent)}: written")
