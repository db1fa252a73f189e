"""What is wrong with an estate file: one line each, with file, line, path and what to do.

Invariant: pure; every problem has the form `file:line: path: what is wrong; what to do`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from manor.estate.overlays import Path
from manor.estate.source import Mark

PLAIN = re.compile(r"[A-Za-z0-9_.$;-]+")


class Finding(NamedTuple):
    """Something wrong at a path below the value that was looked at."""

    path: Path
    wrong: str

    def below(self, *prefix: str | int) -> Finding:
        """Return the same finding seen from further up."""
        return Finding((*prefix, *self.path), self.wrong)


@dataclass(frozen=True, order=True)
class Problem:
    """Something wrong at a place in a file."""

    mark: Mark
    path: str
    wrong: str

    def __str__(self) -> str:
        """Return the line that a person reads."""
        return f"{self.mark}: {self.path}: {self.wrong}" if self.path else f"{self.mark}: {self.wrong}"


def dotted(path: Path) -> str:
    """Return e.g. `services.shop.routes[0].host`."""
    text = ""
    for part in path:
        word = str(part) if PLAIN.fullmatch(str(part)) else repr(part)
        text += f"[{part}]" if isinstance(part, int) else f".{word}" if text else word
    return text


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return what to do about an unknown word: the nearest known one, or all of them."""
    choices = sorted(known)
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`?"
    return f"known here: {', '.join(choices)}" if choices else "nothing is known here"
