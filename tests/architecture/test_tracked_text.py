"""Nothing in the repository speaks of the machine it was written on, of a registry's address, of secrets, or of how it came about."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT, files

FORBIDDEN = {
    "a registry's address": r"pypi[.]org|pythonhosted[.]org|registry[.]npmjs|proxy[.]golang|deb[.]debian[.]org|crates[.]io/api|--?(extra-)?index-url[ =]\S*//",
    "a path of somebody's machine": r"/work/(main|wt|shared)\b|(?<![\w.])/root/\.?[a-z]|[.][.]/shared\b|/home/(?!deploy|manor|operator)[a-z]+/",
    "a private key": r"BEGIN ([A-Z]+ )?PRIVATE KEY-{5}\n[A-Za-z0-9+/]{20}",
    "a token": r"\b(ghp_[A-Za-z0-9]{30}|AKIA[A-Z0-9]{16}|xox[bp]-[0-9]{8}|AGE-SECRET-KEY-1[A-Z0-9]{20})",
    "how it came about": r"(?i)\bagent session\b|\bissue #? ?[0-9]+\b|\bhelper session\b|\bas an ai\b|\bclaude\b|\bchatgpt\b|\bthe brief says\b",
}
BINARY = frozenset({".png", ".ico", ".woff2", ".gz", ".tar", ".db", ".whl", ".pyc"})
ALLOWED = {"LICENSE": (), "tests/architecture/test_tracked_text.py": tuple(FORBIDDEN)}
"""What a file may say all the same: this one holds the patterns and their examples."""


def complaints(text: str) -> list[str]:
    """Return what a text says that it should not."""
    return [what for what, pattern in FORBIDDEN.items() if re.search(pattern, text)]


def text_of(path: Path) -> str:
    """Return a file's text; what is not UTF-8 is not text."""
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return ""


def test_no_file_says_what_it_should_not() -> None:
    found = {}
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix not in BINARY and path.is_file():
            found[name] = [what for what in complaints(text_of(path)) if what not in ALLOWED.get(name, ())]
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "text",
    [
        "https://py" + "pi.org/simple",
        "--index-url https://example.org",
        "/wo" + "rk/main/.venv",
        "see ../shared/DESIGN.md",
        "as issue 3 says",
        "AKIAABCDEFGHIJKLMNOP",
    ],
)
def test_what_counts(text: str) -> None:
    assert len(complaints(text)) == 1


@pytest.mark.parametrize("text", ["/var/lib/manor", "an issue with 3 hosts", "pip install --no-index", "httpcore2==2.16.2"])
def test_what_does_not_count(text: str) -> None:
    assert complaints(text) == []
