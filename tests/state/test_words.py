"""The words of the store's columns: each is one that the package writes or asks for."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import pytest

import manor
from manor.state import words

SOURCES = [path.read_text() for path in Path(manor.__file__).parent.rglob("*.py")]
WORDS = [word for kind in vars(words).values() if isinstance(kind, type) and issubclass(kind, StrEnum) and kind is not StrEnum for word in kind]


@pytest.mark.parametrize("word", WORDS, ids=lambda word: f"{type(word).__name__}.{word.name}")
def test_every_word_is_used(word: StrEnum) -> None:
    named = f"{type(word).__name__}.{word.name}"
    assert any(named in source for source in SOURCES), f"{named}: nobody sets it"
