"""Compares rendered files with the ones kept in a case's folder; `--update-golden` rewrites them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest


def assert_golden(request: pytest.FixtureRequest, folder: Path, files: Mapping[str, bytes]) -> None:
    """Fail with the first difference."""
    if request.config.getoption("--update-golden", default=False):
        rewrite(folder, files)
    kept = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert sorted(kept) == sorted(files)
    for name, content in files.items():
        assert content.decode() == kept[name].decode(), name


def rewrite(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make the folder hold just these files."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
