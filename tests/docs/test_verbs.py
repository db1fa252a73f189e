"""Every verb has its page, every page its verb, and each page shows the verb's options."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import DOCS

if TYPE_CHECKING:
    import click

VERBS = DOCS / "verbs"


def group() -> click.Group | None:
    """Return the command line, or None while there is none."""
    if importlib.util.find_spec("manor.cli.main") is None:
        return None
    main: click.Group = importlib.import_module("manor.cli.main").main
    return main


def verbs() -> list[str]:
    """Return the verbs that `manor --help` lists."""
    import click

    found = group()
    return found.list_commands(click.Context(found)) if found else []


def commands(command: click.Command, context: click.Context) -> list[click.Command]:
    """Return a verb and all below it."""
    import click

    if not isinstance(command, click.Group):
        return [command]
    below = [command.get_command(context, name) for name in command.list_commands(context)]
    return [command, *(each for one in below if one for each in commands(one, context))]


def options(verb: str) -> set[str]:
    """Return the long options of a verb and of all below it, but for those of every verb."""
    import click

    found = group()
    assert found is not None
    context = click.Context(found)
    command = found.get_command(context, verb)
    assert command is not None
    everything = [option for each in commands(command, context) for parameter in each.params for option in parameter.opts]
    return {option for option in everything if option.startswith("--")} - {"--help", "--json"}


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_has_its_page(verb: str) -> None:
    page = VERBS / f"{verb}.md"
    assert page.is_file(), f"write {page.relative_to(DOCS.parent)}"
    text = page.read_text()
    assert text.startswith(f"# manor {verb}\n")
    assert {option for option in options(verb) if option not in text} == set()


def test_every_page_has_its_verb() -> None:
    assert {page.stem for page in VERBS.glob("*.md")} <= set(verbs())


@pytest.mark.parametrize("verb", verbs())
def test_the_page_of_dry_runs_names_every_verb_that_has_one_or_changes_something(verb: str) -> None:
    told = (DOCS / "dry-run.md").read_text()
    reads = {"check", "doctor", "logs", "plan", "receipt", "schema", "status", "trace"}
    assert (f"`{verb}" in told) != (verb in reads), "say of it what its dry run shows, or why it has none"
    shows = {row.split("|")[1] for row in told.splitlines() if row.startswith("| `")}
    assert ("--dry-run" in options(verb)) == any(f"`{verb}" in row for row in shows)
