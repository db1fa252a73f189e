"""What the state folder holds, counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from manor.state.counting import count_rows
from manor.state.folder import PARTS
from manor.state.migrate import revision_of
from manor.workflows.context import Context


@dataclass(frozen=True)
class Part:
    """One part of the folder."""

    name: str
    files: int
    size_bytes: int


@dataclass(frozen=True)
class StateSummary:
    """The whole."""

    folder: str
    state_id: str
    schema: str
    parts: tuple[Part, ...]
    rows: tuple[tuple[str, int], ...]


def summarize_state(context: Context) -> StateSummary:
    """Return what there is."""
    folder = context.store.folder
    parts = (measure("state.db", [folder.database]), *(measure(name, files_below(folder.path / name)) for name in PARTS))
    return StateSummary(str(folder.path), context.store.state_id, revision_of(folder.database), parts, context.store.read_now(count_rows))


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the plain files below a folder; sockets and links are none."""
    return (path for path in folder.rglob("*") if not path.is_symlink() and path.is_file())


def measure(name: str, files: Iterator[Path] | list[Path]) -> Part:
    """Return how many files there are and how large they are; what vanishes meanwhile counts as nothing."""
    sizes = [path.stat().st_size for path in files if path.exists()]
    return Part(name, len(sizes), sum(sizes))
