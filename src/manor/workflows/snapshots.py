"""Keeps the estate files that an operation was begun with, so that a later executor goes on with the same ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from manor.errors import Paused
from manor.estate.load import load_estate
from manor.execution.durable import Disk
from manor.execution.files import carry_out
from manor.execution.values import HostPath, MakeFolder, PutFile
from manor.workflows.context import Context


def snapshot_folder(context: Context, digest: str) -> Path:
    """Return where the files of an estate with this digest are kept."""
    return context.folder / "estates" / digest


def keep_estate(context: Context) -> None:
    """Keep a copy of the estate's files under its digest."""
    folder = snapshot_folder(context, context.estate.digest)
    if (folder / "estate.yaml").exists():
        return
    source = context.file.parent
    named = {
        path
        for environment in context.estate.environments.values()
        for service in environment.services.values()
        for parts in service.extra.values()
        for path in parts.values()
    }
    parts = [*sorted((source / "estate.d").glob("*.yaml")), *(source / path for path in sorted(named))]
    for part in parts:
        put(folder / part.relative_to(source), part.read_bytes())
    put(folder / "estate.yaml", context.file.read_bytes())


def put(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file with its folders, durably."""
    if not path.parent.is_dir():
        carry_out(Disk(), MakeFolder(HostPath(path.parent), 0o700))
    carry_out(Disk(), PutFile(HostPath(path), content, mode))


def context_at(context: Context, digest: str) -> Context:
    """Return the context with the estate as it was under a digest. Raises Paused if it was not kept."""
    if digest == context.estate.digest:
        return context
    file = snapshot_folder(context, digest) / "estate.yaml"
    if not file.exists():
        raise Paused(f"the estate {digest[:12]} that the operation was begun with is not in the state folder; abandon the operation, or restore a backup")
    return replace(context, file=file, estate=load_estate(file))
