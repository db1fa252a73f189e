"""Places for real tiers: a root and a socket folder of their own, removed afterwards."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from manor.execution.values import HostPath


@pytest.fixture
def root(tmp_path: Path) -> HostPath:
    """A host's folder."""
    return HostPath(tmp_path / "h")


@pytest.fixture
def sockets() -> Iterator[HostPath]:
    """A short folder for sockets."""
    folder = tempfile.mkdtemp(prefix="mp-", dir="/tmp")
    yield HostPath(folder)
    shutil.rmtree(folder)
