"""An estate in a folder of its own; verbs run in this process and never touch the machine's own address file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from manor.cli.main import main
from manor.execution import machine

GOLDEN = Path(__file__).parent / "golden"
ESTATE = """\
estate: acme-health
domain: acme.example
services:
  shop:
    run: {command: "python3 -m shop --bind {address}:{port}", port: 8100}
    health: {http: /healthz}
    routes: [{host: shop}]
environments:
  dev: {}
  prod: {after: dev, hosts: {edge: 1, web: 2}}
"""


@dataclass
class Shell:
    """A person in a folder."""

    folder: Path

    def run(self, *words: str, typed: str | None = None) -> Result:
        """Run a verb."""
        return CliRunner().invoke(main, list(words), input=typed, prog_name="manor")

    def objects(self, *words: str) -> list[dict[str, Any]]:
        """Run a verb with --json and return what it printed on standard output."""
        return [json.loads(line) for line in self.run(*words, "--json").stdout.splitlines()]

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.folder / ".manor" / "state"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """An empty folder; loopback addresses are given without asking the machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(machine.MACHINE_FILE_VARIABLE, str(tmp_path / "machine"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(machine, "can_bind", lambda _address, _port: True)
    monkeypatch.setattr(machine, "networks_listening", lambda _text: frozenset())
    for name in ("MANOR_STATE", "MANOR_ESTATE"):
        monkeypatch.delenv(name, raising=False)
    return Shell(tmp_path)


@pytest.fixture
def estate(shell: Shell, begin_state: Callable[[Path], Path]) -> Shell:
    """A folder with an estate and an empty state."""
    (shell.folder / "estate.yaml").write_text(ESTATE)
    begin_state(shell.state)
    return shell


@pytest.fixture
def is_golden(update_golden: bool) -> Callable[[str, str], bool]:
    """Return what compares a text with its file, or rewrites the file."""

    def compare(name: str, text: str) -> bool:
        if update_golden:
            (GOLDEN / name).write_text(text)
        return (GOLDEN / name).read_text() == text

    return compare
