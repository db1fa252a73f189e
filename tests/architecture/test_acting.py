"""Only `execution` acts: what the contracts of import-linter can't see, because it hides in modules that all may import
(`xmlrpc` to write a call down, `http` for the names of statuses, `asyncio`, `os`).

The exceptions are the same as in pyproject.toml: the probe in `observe` is a client from outside, and `web` listens.
"""

from __future__ import annotations

import ast

import pytest

from tests.architecture.sources import PACKAGE, Source, package_sources

ACTING = frozenset(
    {
        "HTTPConnection",
        "HTTPSConnection",
        "HTTPServer",
        "ServerProxy",
        "SimpleXMLRPCServer",
        "ThreadingHTTPServer",
        "create_connection",
        "create_datagram_endpoint",
        "create_server",
        "create_subprocess_exec",
        "create_subprocess_shell",
        "create_unix_connection",
        "create_unix_server",
        "open_connection",
        "open_unix_connection",
        "posix_spawn",
        "posix_spawnp",
        "start_server",
        "start_unix_server",
        "subprocess_exec",
        "subprocess_shell",
        "urlopen",
        "urlretrieve",
    }
)
ACTING_OF_OS = frozenset({"execl", "execle", "execlp", "execv", "execve", "execvp", "execvpe", "fork", "forkpty", "popen", "system"})


HOOKS = "integrations/repositories/hosted/hooks/"
"""Programs of their own: git runs copies of them."""


def may_act(source: Source) -> bool:
    """Return whether a module is one of those that may start processes or open connections."""
    inside = source.path.relative_to(PACKAGE).as_posix()
    return inside.startswith(("execution/", "observe/probe", HOOKS))


def is_acting(node: ast.AST) -> bool:
    """Return whether an expression names something that starts a process or opens a connection."""
    match node:
        case ast.Attribute(value=ast.Name(id="os"), attr=name):
            return name in ACTING_OF_OS | ACTING
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name in ACTING
        case ast.ImportFrom(module=module, names=names):
            wanted = {name.name for name in names}
            return bool(wanted & ACTING or (module == "os" and wanted & ACTING_OF_OS) or (module == "asyncio" and "subprocess" in wanted))
        case _:
            return False


def test_only_execution_acts() -> None:
    found = [
        f"{source.name}:{getattr(node, 'lineno', 0)}"
        for source in package_sources()
        if not may_act(source)
        for node in ast.walk(source.tree)
        if is_acting(node)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "asyncio.create_subprocess_exec('true')",
        "from asyncio import create_subprocess_shell",
        "from asyncio import subprocess",
        "loop.create_connection(factory)",
        "os.system('true')",
        "xmlrpc.client.ServerProxy(url)",
        "from http.client import HTTPConnection",
        "from os import fork",
        "urllib.request.urlopen(url)",
    ],
)
def test_what_counts_as_acting(line: str) -> None:
    assert any(is_acting(node) for node in ast.walk(ast.parse(line)))
