"""The documentation as the tests see it: pages, links, fenced blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.architecture.sources import ROOT, files

DOCS = ROOT / "docs"
FENCE = re.compile(r"^(?P<fence>`{3,}|~{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=fence)\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)(?:\s+\"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6}\s+(?P<text>.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the words after it, its lines."""

    page: Path
    line: int
    language: str
    words: tuple[str, ...]
    body: str


def pages() -> tuple[Path, ...]:
    """Return all Markdown files of the project."""
    return tuple(path for path in files() if path.suffix == ".md")


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    text = page.read_text()
    for match in FENCE.finditer(text):
        language, *words = match["info"].split() or [""]
        yield Block(page, text.count("\n", 0, match.start()) + 1, language, tuple(words), match["body"])


def prose(page: Path) -> str:
    """Return a page without its fenced blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text()))


def links(page: Path) -> Iterator[str]:
    """Yield the targets of a page's links."""
    return (match["target"] for match in LINK.finditer(prose(page)))


def anchors(page: Path) -> set[str]:
    """Return the anchors that headings make, spelled as GitHub does."""
    text = FENCE.sub("", page.read_text())
    return {re.sub(r"[^\w\- ]", "", match["text"].lower()).replace(" ", "-") for match in HEADING.finditer(text)}
