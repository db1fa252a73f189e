"""docs/exit-codes.md names every error with the exit code that it really has."""

from __future__ import annotations

import inspect
import re

import pytest

from manor import errors
from tests.docs.pages import DOCS

ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<code>\d) \|", re.MULTILINE)
CODE = re.compile(r"^\| \*\*(?P<code>\d)\*\* \|", re.MULTILINE)
PAGE = DOCS / "exit-codes.md"


def classes() -> dict[str, int]:
    """Return every error class with its exit code."""
    found = inspect.getmembers(errors, inspect.isclass)
    return {name: thing.exit_code for name, thing in found if issubclass(thing, errors.ManorError)}


def test_every_error_is_documented_with_its_code() -> None:
    assert {match["name"]: int(match["code"]) for match in ROW.finditer(PAGE.read_text())} == classes()


def test_every_code_is_explained() -> None:
    assert {int(match["code"]) for match in CODE.finditer(PAGE.read_text())} == {0, *classes().values()}


@pytest.mark.parametrize("name", sorted(classes()))
def test_every_error_says_in_one_line_what_it_is(name: str) -> None:
    assert (inspect.getdoc(getattr(errors, name)) or "").splitlines()[0].endswith(".")
