"""An estate that is opened in a folder of its own, without asking the machine for addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from manor.execution import machine
from manor.workflows.context import Context, open_context
from tests.workflows.modelled import context, empty_state, worlds  # noqa: F401 -- fixtures

ESTATE = """\
estate: acme-health
services:
  shop:
    run: {command: "shop {address}:{port}", port: 8100}
    health: {http: /healthz}
    routes: [{host: shop}]
environments:
  dev: {}
  prod: {after: dev, hosts: {edge: 1, web: 2}}
"""


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for an estate; the machine's own file and addresses are left alone."""
    monkeypatch.setenv(machine.MACHINE_FILE_VARIABLE, str(tmp_path / "machine"))
    monkeypatch.setattr(machine, "can_bind", lambda _address, _port: True)
    monkeypatch.setattr(machine, "networks_listening", lambda _text: frozenset())
    monkeypatch.delenv("MANOR_STATE", raising=False)
    return tmp_path


@pytest.fixture
def opened(alone: Path, begin_state: Callable[[Path], Path]) -> Iterator[Context]:
    """The estate with its state."""
    (alone / "estate.yaml").write_text(ESTATE)
    begin_state(alone / ".manor" / "state")
    with open_context(alone / "estate.yaml") as made:
        yield made
