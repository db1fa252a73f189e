"""The project's files as the architecture tests see them: read once, parsed once."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "manor"
NOT_OURS = frozenset(
    {".git", ".venv", ".cache", ".hypothesis", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache", "__pycache__", "build", "dist"}
)
CODE_FOLDERS = ("src", "tools", "examples", "bench", "tests")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """A Python file."""

    path: Path

    @property
    def name(self) -> str:
        """The path inside the checkout."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        """What it says."""
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        """What it says, parsed."""
        return ast.parse(self.text, self.name)

    @property
    def functions(self) -> Iterator[Function]:
        """All functions and methods in it."""
        return (node for node in statements(self.tree) if isinstance(node, Function))


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Return all statements below a node; expressions, which are most of a tree, are not walked."""
    for part in ("body", "handlers", "cases", "orelse", "finalbody"):
        for child in getattr(node, part, ()):
            yield child
            yield from statements(child)


def is_ours(path: Path) -> bool:
    """Return whether a path is part of the project and not made by a tool or a run."""
    parts = path.relative_to(ROOT).parts
    return not NOT_OURS.intersection(parts) and ".manor/state" not in path.as_posix() and not any(part.endswith(".egg-info") for part in parts)


@cache
def files() -> tuple[Path, ...]:
    """Return all files of the project, sorted; folders of tools and runs are not even walked."""
    found: list[Path] = []
    for place, folders, names in os.walk(ROOT):
        folder = Path(place)
        folders[:] = [name for name in folders if is_ours(folder / name)]
        found += [folder / name for name in names if is_ours(folder / name)]
    return tuple(sorted(found))


@cache
def sources(*folders: str) -> tuple[Source, ...]:
    """Return the Python files below the named folders of the checkout."""
    return tuple(Source(path) for path in files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders)


def package_sources() -> tuple[Source, ...]:
    """Return the Python files of the package."""
    return sources("src")
