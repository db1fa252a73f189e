"""`manor --help` answers at once: the command line's entry imports nothing heavy."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.architecture.sources import PACKAGE

HEAVY = frozenset({"alembic", "cryptography", "httpx2", "jinja2", "pydantic", "sqlalchemy", "starlette", "supervisor", "uvicorn", "yaml"})
ENTRY = "manor.cli.main"


def module_file(name: str) -> Path | None:
    """Return the file of a module of the package, or None if it is none."""
    path = PACKAGE.parent / name.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def imports_at_start(file: Path) -> set[str]:
    """Return the modules that importing this one imports: all but those inside functions and under TYPE_CHECKING."""
    found: set[str] = set()
    waiting: list[ast.stmt] = list(ast.parse(file.read_text()).body)
    while waiting:
        match waiting.pop():
            case ast.Import(names=names):
                found |= {name.name for name in names}
            case ast.ImportFrom(module=str(module), names=names):
                found |= {module, *(f"{module}.{name.name}" for name in names)}
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=body) | ast.ClassDef(body=body) | ast.With(body=body):
                waiting += body
            case ast.If(body=body, orelse=orelse):
                waiting += [*body, *orelse]
            case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=final):
                waiting += [*body, *orelse, *final, *(line for handler in handlers for line in handler.body)]
            case _:
                continue
    return found


def reached(entry: str) -> dict[str, str]:
    """Return every module that importing the entry imports, with the one that wants it first."""
    wanted, waiting = {entry: "the command line"}, [entry]
    while waiting:
        name = waiting.pop()
        file = module_file(name)
        for other in sorted(imports_at_start(file)) if file else ():
            parents = [other.rsplit(".", number)[0] for number in range(other.count("."), 0, -1)]
            for module in (*parents, other):
                if module not in wanted:
                    wanted[module] = name
                    waiting.append(module)
    return wanted


@pytest.mark.skipif(module_file(ENTRY) is None, reason="there is no command line yet")
def test_the_command_line_imports_nothing_heavy() -> None:
    assert {module: by for module, by in reached(ENTRY).items() if module in HEAVY} == {}


def test_an_import_inside_a_function_does_not_count(tmp_path: Path) -> None:
    file = tmp_path / "verb.py"
    text = (
        "import click\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import yaml\n"
        "def run():\n    import pydantic\ntry:\n    import httpx2\nfinally: pass\n"
    )
    file.write_text(text)
    assert imports_at_start(file) & {"click", "yaml", "pydantic", "httpx2"} == {"click", "httpx2"}


def test_what_is_reached_through_others_counts() -> None:
    assert reached("manor.estate.model")["pydantic"] == "manor.estate.model"
