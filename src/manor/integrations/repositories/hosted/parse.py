"""What git prints, as values.

Invariant: pure.
"""

from __future__ import annotations


def parse_refs(text: str) -> dict[str, str]:
    """Return ref → commit from lines `<commit> <ref>`."""
    pairs = [line.split(" ", 1) for line in text.splitlines() if line]
    return {ref: commit for commit, ref in pairs}


def parse_history(text: str) -> tuple[str, ...]:
    """Return commits, oldest first, from lines with the newest first."""
    return tuple(reversed(text.split()))
