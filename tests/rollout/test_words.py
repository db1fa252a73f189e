"""A failure shows what this start of this program wrote: not what ran there before, and not what its wrapper does."""

from __future__ import annotations

import pytest

from manor.rollout.words import LAST_WORDS_BYTES, last_words

BEFORE = b"INFO: the former release says goodbye\n"
WAITS = b"manor: shop@web-1#1/a: was started less than a second ago; waiting a second\n"
ENDS = b"manor: shop@web-1#1/a: still lives (pid 4711); it gets TERM\n"
WRONG = b"manor: shop@web-1#1/a: /slots/a.env: a line is not KEY=value\n"


@pytest.mark.parametrize(
    ("log", "begun_at", "words"),
    [
        (BEFORE, b"", ""),
        (BEFORE, b"38\n", ""),
        (BEFORE + b"Traceback\n\nKeyError: 'PORT'\n", b"38\n", "Traceback | KeyError: 'PORT'"),
        (BEFORE + b"KeyError: 'PORT'\n" + WAITS + ENDS, b"38\n", "KeyError: 'PORT'"),
        (BEFORE + b"1\n2\n3\n4\n", b"38\n", "2 | 3 | 4"),
        (BEFORE + WRONG, b"38\n", WRONG.decode().strip()),
        (b"written after the log was cut off\n", b"70000\n", "written after the log was cut off"),
        (b"x" * 1000, b"0\n", "x" * LAST_WORDS_BYTES),
    ],
    ids=["never started", "nothing yet", "its own", "not its wrapper's", "the last three", "why it did not start", "rotated", "long"],
)
def test_last_words(log: bytes, begun_at: bytes, words: str) -> None:
    assert last_words(log, begun_at) == words
