"""Files, functions and the package's top level stay small enough to be read at one sitting."""

from __future__ import annotations

import ast

from tests.architecture.sources import CODE_FOLDERS, PACKAGE, Function, sources

MOST_LINES_OF_A_FILE = 500
MOST_LINES_OF_A_FUNCTION = 40
MOST_TOP_LEVEL_ENTRIES = 14
NOT_COUNTED = frozenset({"__init__.py", "__main__.py", "__pycache__", "py.typed"})


def length(function: Function) -> int:
    """Return the lines of a function from its `def` to its end, without its docstring."""
    first = function.body[0]
    docstring = (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(function) is not None else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def test_files_are_short() -> None:
    lengths = {source.name: len(source.text.splitlines()) for source in sources(*CODE_FOLDERS)}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES_OF_A_FILE} == {}


def test_functions_are_short() -> None:
    long = {f"{source.name}:{function.lineno} {function.name}": length(function) for source in sources(*CODE_FOLDERS) for function in source.functions}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES_OF_A_FUNCTION} == {}


def test_the_top_level_of_the_package_fits_a_screen() -> None:
    entries = sorted(path.name for path in PACKAGE.iterdir() if path.name not in NOT_COUNTED)
    assert len(entries) <= MOST_TOP_LEVEL_ENTRIES, entries
