"""Places for real tiers: a root and a socket folder of their own, removed afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
import zlib
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


@pytest.fixture
def address(tmp_path: Path) -> str:
    """A loopback address that no other test uses, so that every port of it is free."""
    return f"127.202.{20 + os.getpid() % 200}.{1 + zlib.crc32(str(tmp_path).encode()) % 250}"
