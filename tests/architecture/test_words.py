"""Every module and public function says what it is for, and no name says nothing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.architecture.sources import CODE_FOLDERS, Function, Source, package_sources, sources

EMPTY_NAMES = re.compile(r"(^|_)(utils?|common|helpers?|managers?|misc|stuff)($|_)")


def public_things(source: Source) -> Iterator[Function | ast.ClassDef]:
    """Yield the public functions, classes and methods of a module."""
    for node in source.tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            members = node.body if isinstance(node, ast.ClassDef) else []
            yield from (member for member in members if isinstance(member, Function) and not member.name.startswith("_") and not is_overload(member))


def is_overload(function: Function) -> bool:
    """Return whether it is one signature of several, documented at the last."""
    return any(isinstance(name, ast.Name) and name.id in {"overload", "override"} for name in function.decorator_list)


def test_every_module_has_a_docstring() -> None:
    assert [source.name for source in sources(*CODE_FOLDERS) if source.text.strip() and ast.get_docstring(source.tree) is None] == []


def test_no_module_of_the_package_is_empty() -> None:
    assert [source.name for source in package_sources() if not source.text.strip()] == []


def test_everything_public_has_a_docstring() -> None:
    silent = [f"{source.name}:{node.lineno} {node.name}" for source in package_sources() for node in public_things(source) if ast.get_docstring(node) is None]
    assert silent == []


def test_no_name_says_nothing() -> None:
    places = [part for source in sources(*CODE_FOLDERS) for part in source.name.removesuffix(".py").split("/") if EMPTY_NAMES.search(part)]
    assert places == []
