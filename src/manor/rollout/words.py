"""What a program wrote since it was started, out of the log that it shares with those before it and with its wrapper (docs/execution.md).

Invariant: pure. Lines of the wrapper that only say what the wrapper does are nobody's words; those that say why it did not start are.
"""

from __future__ import annotations

import re

LAST_WORDS_BYTES = 600
LAST_LINES = 3
OF_THE_WRAPPER = re.compile(r"manor: \S+: (was started less than|lives already|still lives|it has ended|its first process was killed)")


def last_words(log: bytes, begun_at: bytes) -> str:
    """Return the last lines written since the start that the note beside the log tells of; without a note nothing was started.

    A log that is shorter than the note says was cut off since: all of it was written after the start.
    """
    if not begun_at.strip().isdigit():
        return ""
    offset = int(begun_at)
    since = log[offset:] if offset <= len(log) else log
    lines = [line.strip() for line in since.decode("utf-8", "replace").splitlines()]
    return " | ".join([line for line in lines if line and not OF_THE_WRAPPER.match(line)][-LAST_LINES:])[-LAST_WORDS_BYTES:]
