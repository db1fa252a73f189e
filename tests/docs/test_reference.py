"""docs/reference.md documents every key of the estate file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from manor.estate import model
from tests.docs.pages import DOCS

PAGE = DOCS / "reference.md"
DERIVED = frozenset({("Host", "name"), ("Environment", "name"), ("Environment", "is_last"), ("Estate", "digest")})
"""Fields that nobody writes: they follow from the place in the file."""
SPELLED = {("Estate", "name"): "estate"}


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models within a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def keys(part: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[tuple[str, str, str | None]]:
    """Yield class, key as it is written and description of every field below a model."""
    if part in seen:
        return
    seen.add(part)
    for name, field in part.model_fields.items():
        if (part.__name__, name) not in DERIVED:
            yield part.__name__, SPELLED.get((part.__name__, name), field.alias or name), field.description
        for inner in models_in(field.annotation):
            yield from keys(inner, seen)


KEYS = sorted(set(keys(model.Estate, set())), key=lambda row: row[:2])


@pytest.mark.skipif(not PAGE.exists(), reason="docs/reference.md is not generated yet")
def test_every_key_is_in_the_reference() -> None:
    text = PAGE.read_text() if PAGE.exists() else ""
    assert [f"{part}.{key}" for part, key, _ in KEYS if f"`{key}`" not in text] == []


def test_every_key_is_described() -> None:
    assert [f"{part}.{key}" for part, key, description in KEYS if not description and (part, key) != ("Estate", "estate")] == []
