"""Finds programs of this machine that Manor started, by the mark in their environment.

Invariant: reads /proc only; a process that ends meanwhile or belongs to somebody else is passed over.
https://man7.org/linux/man-pages/man5/proc_pid_environ.5.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MARK = b"MANOR_INSTANCE="


@dataclass(frozen=True)
class RunningInstance:
    """A process with a mark; several may bear one, as children inherit it."""

    pid: int
    root: str
    """The host's folder."""
    program: str


def running_instances(proc: Path = Path("/proc")) -> Iterator[RunningInstance]:
    """Yield every process of this machine that bears a mark, by pid."""
    for folder in sorted((path for path in proc.iterdir() if path.name.isdigit()), key=lambda path: int(path.name)):
        try:
            entries = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        mark = next((entry[len(MARK) :].decode("utf-8", "replace") for entry in entries if entry.startswith(MARK)), "")
        root, _, program = mark.rpartition(":")
        if root:
            yield RunningInstance(int(folder.name), root, program)
