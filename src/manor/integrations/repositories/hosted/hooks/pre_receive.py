"""Judges a push before any ref moves: git's pre-receive hook, run alone by `python3 -I -S`.

Invariant: whatever is unclear is refused; a refusal moves nothing, and git drops the pushed objects with their quarantine.
Invariant: names are data: they are compared and printed (quoted), never run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

BRANCH = re.compile(r"refs/heads/[A-Za-z0-9][A-Za-z0-9._/+@=#-]{0,199}")
TAG = re.compile(r"refs/tags/[A-Za-z0-9][A-Za-z0-9._/+@=#-]{0,199}")
MOST_REFS = 1000


@dataclass(frozen=True)
class Update:
    """One ref that a push wants to move."""

    old: str
    new: str
    ref: str

    @property
    def is_creation(self) -> bool:
        """The ref does not exist yet."""
        return not self.old.strip("0")

    @property
    def is_deletion(self) -> bool:
        """The ref would vanish."""
        return not self.new.strip("0")

    @property
    def branch(self) -> str:
        """The name without `refs/heads/`."""
        return self.ref.removeprefix("refs/heads/")


def parse_updates(lines: Iterable[str]) -> list[Update]:
    """Return the updates from lines `<old> <new> <ref>`."""
    return [Update(*line.rstrip("\n").split(" ", 2)) for line in lines]


def problems(updates: list[Update], protected: list[str], scopes: set[str], is_ancestor: Callable[[str, str], bool]) -> list[str]:
    """Return why the push is refused, one line each; empty if it may pass."""
    if not scopes & {"push", "admin"}:
        return ["this token may not push; ask for one with the scope `push`"]
    if len(updates) > MOST_REFS:
        return [f"{len(updates)} refs at once; push at most {MOST_REFS}"]
    return [text for update in updates for text in name_problems(update) or branch_problems(update, protected, is_ancestor)]


def name_problems(update: Update) -> list[str]:
    """Return what is wrong with the ref's name. A badly named one may be deleted, if it ever got here."""
    if update.is_deletion or BRANCH.fullmatch(update.ref) or TAG.fullmatch(update.ref):
        return []
    if not update.ref.startswith(("refs/heads/", "refs/tags/")):
        return [f"{shown(update.ref)}: only branches and tags are kept here"]
    return [f"{shown(update.ref)}: not a name for a branch or tag here; begin with a letter or digit and use A-Z a-z 0-9 . _ / + @ = # - (at most 200)"]


def branch_problems(update: Update, protected: list[str], is_ancestor: Callable[[str, str], bool]) -> list[str]:
    """Return what a protected branch forbids."""
    if not update.ref.startswith("refs/heads/") or not any(fnmatchcase(update.branch, pattern) for pattern in protected):
        return []
    if update.is_deletion:
        return [f"{shown(update.branch)} is protected: it can't be deleted"]
    if not update.is_creation and not is_ancestor(update.old, update.new):
        return [
            f"{shown(update.branch)} is protected: a forced push would drop {update.old[:12]}, which others may have; "
            "merge or rebase onto it, or take a change back with `git revert`"
        ]
    return []


def shown(name: str) -> str:
    """Return a name for a message: at most 120 characters, control characters escaped."""
    return repr(name[:120])


def is_ancestor(old: str, new: str) -> bool:
    """Ask git whether `old` is part of the history of `new`; anything but a clear yes is a no."""
    return subprocess.run(["git", "merge-base", "--is-ancestor", old, new], check=False, stderr=subprocess.DEVNULL, timeout=60).returncode == 0


def main() -> int:
    """Read the updates, print the problems, return the exit code."""
    rules = json.loads(Path(__file__).with_name("rules.json").read_text())
    lines = sys.stdin.buffer.read().decode("utf-8", "backslashreplace").splitlines()
    found = problems(parse_updates(lines), rules["protected"], set(os.environ.get("MANOR_SCOPES", "").split()), is_ancestor)
    for text in found:
        sys.stderr.write(f"refused: {text}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
