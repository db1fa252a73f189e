"""docs/pipeline.md and its example name every key of a pipeline file, and the example is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from manor.pipeline.definition import described, parse_pipeline
from tests.architecture.sources import ROOT
from tests.docs.pages import DOCS

EXAMPLES = [DOCS / "pipeline.example.yaml", *(ROOT / "examples").rglob(".manor/pipeline.yaml")]
KEYS = described()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_example_is_a_pipeline(path: Path) -> None:
    assert parse_pipeline(path.read_text()).steps


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_documented(key: str) -> None:
    assert KEYS[key]
    assert f"`{key}`" in (DOCS / "pipeline.md").read_text()
    assert f"{key}:" in (DOCS / "pipeline.example.yaml").read_text()
