"""Keeps the estate files that an operation was begun with, so that a later executor goes on with the same ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from manor.errors import InvalidEstate, Paused
from manor.estate.load import load_estate
from manor.execution.durable import Disk
from manor.execution.files import carry_out
from manor.execution.values import HostPath, MakeFolder, PutFile
from manor.state import operations
from manor.state.store import Store
from manor.workflows.context import Context, find_estate, open_state, state_folder

LOOKED_BACK = 200
"""How many operations are looked through for an estate that was kept."""


def snapshot_folder(context: Context, digest: str) -> Path:
    """Return where the files of an estate with this digest are kept."""
    return kept_file(context.store, digest).parent


def kept_file(store: Store, digest: str) -> Path:
    """Return the estate file that is kept under a digest, whether it is there or not."""
    return store.folder.path / "estates" / digest / "estate.yaml"


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


@contextmanager
def open_in_need(path: Path | None, say: Callable[[str], None], *, dry_run: bool = False) -> Iterator[Context]:
    """Open the estate and its state for a verb that must not wait for a valid file: with one that is wrong, the last kept one serves, which is said.

    Raises InvalidEstate if the file is wrong and none was kept.
    """
    file = find_estate(path)
    try:
        estate = load_estate(file)
    except InvalidEstate as error:
        if not state_folder(file).is_dir():
            raise
        with open_state(file, dry_run=dry_run) as (store, machine):
            yield replace(newest_kept(file, store, error, say), machine=machine)
    else:
        with open_state(file, dry_run=dry_run) as (store, machine):
            yield Context(file, estate, store, machine)


def newest_kept(file: Path, store: Store, wrong: InvalidEstate, say: Callable[[str], None]) -> Context:
    """Return the context with the estate of the last operation whose estate was kept and still holds. Raises InvalidEstate, what is wrong with the present."""
    for digest in dict.fromkeys(one.estate_digest for one in store.read_now(operations.recent, limit=LOOKED_BACK) if one.estate_digest):
        kept = kept_file(store, digest)
        if kept.exists() and (context := loaded(kept, store)) is not None:
            more = f" and {len(wrong.problems) - 1} more" if len(wrong.problems) > 1 else ""
            say(f"{file.name} is not valid ({wrong.problems[0]}{more}); going on with the estate of the last operation, {digest[:12]}")
            return context
    raise wrong


def loaded(file: Path, store: Store) -> Context | None:
    """Return the context of an estate that was kept; None if this Manor does not accept it."""
    try:
        return Context(file, load_estate(file), store)
    except InvalidEstate:
        return None
