"""Every link inside the project leads somewhere, and every example says whether a test runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.sources import ROOT
from tests.docs.pages import anchors, blocks, links, pages

MARKS = frozenset({"run", "example"})
"""`console run`: a test executes it. `console example`: it is for reading, e.g. as it needs servers."""


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def is_broken(page: Path, target: str) -> bool:
    """Return whether a link inside the project leads nowhere."""
    path, _, anchor = target.partition("#")
    if ":" in path:
        return False
    file = (page.parent / path).resolve() if path else page
    return not file.exists() or (bool(anchor) and file.suffix == ".md" and anchor not in anchors(file))


@pytest.mark.parametrize("page", pages(), ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    assert [target for target in links(page) if is_broken(page, target)] == []


@pytest.mark.parametrize("page", pages(), ids=name)
def test_console_examples_say_whether_they_are_run(page: Path) -> None:
    consoles = [block for block in blocks(page) if block.language in {"console", "sh", "bash", "shell"}]
    assert [f"{name(page)}:{block.line}" for block in consoles if block.language != "console" or not MARKS.intersection(block.words)] == []


@pytest.mark.parametrize("page", pages(), ids=name)
def test_console_examples_show_commands(page: Path) -> None:
    consoles = [block for block in blocks(page) if block.language == "console"]
    assert [f"{name(page)}:{block.line}" for block in consoles if not block.body.startswith("$ ")] == []
