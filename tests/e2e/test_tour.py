"""README.md and docs/tour.md do what they say: their files are written, their commands run in one shell after the other, their outputs compared.

A line `…` stands for any number of lines, `…` within a line for any text; runs of spaces beside it count as one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, Block, blocks
from tests.e2e.estates import ROOT

PAGES = (ROOT / "README.md", DOCS / "tour.md")
LONGEST_SECONDS = 90.0
AGAIN = '. "$TOUR/variables" && cd "$(cat "$TOUR/folder")" && set -a'
LEFT = '{ export -p; declare -f; } > "$TOUR/variables"; pwd > "$TOUR/folder"'
KEEP = AGAIN + " && { %s\n}; code=$?; " + LEFT + "; exit $code"
"""Runs a command where the one before left off: folder, variables and functions."""


@dataclass(frozen=True)
class Said:
    """A command of the page, and what it is said to print."""

    command: str
    output: tuple[str, ...]


def commands(block: Block) -> Iterator[Said]:
    """Yield a console block's commands."""
    for part in re.split(r"^\$ ", block.body, flags=re.MULTILINE)[1:]:
        command, *output = part.rstrip("\n").split("\n")
        yield Said(command, tuple(output))


def pattern(lines: tuple[str, ...]) -> str:
    """Return the regular expression that an output has to match as a whole."""
    return "".join(r"(?:[^\n]*\n)*?" if line == "…" else in_line(line) + r"[ ]*\n" for line in lines)


def in_line(line: str) -> str:
    """Return the expression of one line."""
    return r"[^\n]*?".join(re.escape(part.strip() if at else part.rstrip()) for at, part in enumerate(line.split("…")))


@dataclass(frozen=True)
class Shell:
    """A person's terminal in a folder of its own."""

    folder: Path

    def __post_init__(self) -> None:
        """Begin in an empty home."""
        (self.folder / "home").mkdir()
        (self.folder / "variables").touch()
        (self.folder / "folder").write_text(f"{self.folder / 'home'}\n")
        self._put_manor_on_the_path()

    def _put_manor_on_the_path(self) -> None:
        manor = self.folder / "bin" / "manor"
        manor.parent.mkdir()
        manor.write_text(f'#!/bin/sh\nexec {sys.executable} -m manor "$@"\n')
        manor.chmod(0o755)

    @property
    def here(self) -> Path:
        """The folder that the last command left."""
        return Path((self.folder / "folder").read_text().strip())

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        env = {"PATH": path, "HOME": str(self.folder / "home"), "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT / "src"), "TOUR": str(self.folder)}
        return subprocess.run(
            ["/bin/bash", "-c", KEEP % command],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )

    def write(self, block: Block) -> None:
        """Write a file of the page where the last command left."""
        path = self.here / block.words[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.body)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A terminal; what it brought up is taken down whatever happens."""
    made = Shell(tmp_path)
    yield made
    for state in (tmp_path / "home").glob("*/.manor/state"):
        done = made.run(f"manor down --purge {state.parents[1]}")
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_does_what_it_says(shell: Shell, page: Path) -> None:
    for block in blocks(page):
        if block.words[:1] == ("file",):
            shell.write(block)
        elif "run" in block.words:
            for said in commands(block):
                done = shell.run(said.command)
                where = f"{page.name}:{block.line}: $ {said.command}\n{done.stdout[-6000:]}"
                assert done.returncode == 0, where
                assert re.fullmatch(pattern(said.output), done.stdout), f"{where}\nis not as said:\n" + "\n".join(said.output)
