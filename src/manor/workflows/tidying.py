"""How the controller removes what is its own: noted in the audit, moved aside, gone (docs/controller.md, retention).

Invariant: the line in the audit is durable before anything moves, and what moves is judged anew in the transaction that moves it.
Invariant: killed at any moment, what was moved aside is removed by the next pass, and what was not is found again.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from manor.errors import Busy, FencedOff, ManorError
from manor.execution.durable import is_folder
from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.execution.values import HostPath, Remove
from manor.operations.leasing import hold
from manor.state import audit, operations
from manor.state.folder import ASIDE
from manor.state.leases import Lease
from manor.state.store import Connection, Store

VERB = "retention"
ACTOR = "controller"
REMOVED = "removed"
MOST_AT_ONCE = 100
"""So many are removed of a service, a branch or the outputs in one pass; the rest is left for the next."""
DAY = 86400.0


@dataclass(frozen=True)
class Due:
    """Something that nobody needs any more."""

    about: str
    """What the audit calls it, e.g. `run/<id>`."""
    told: str
    paths: tuple[Path, ...]


Look = Callable[[Connection], Sequence[Due]]
"""Returns what is due, from rows and from what lies on the disk."""


async def when_free(store: Store, names: Iterable[str], work: Callable[[Sequence[Lease]], Awaitable[list[str]]]) -> list[str]:
    """Do it under these leases, unless one is held or something under one is unfinished: that is left for the next time."""
    held = []
    try:
        async with AsyncExitStack() as stack:
            for name in names:
                held.append(await stack.enter_async_context(hold(store, name)))
                if await store.read(operations.unfinished, name):
                    return []
            return await work(held)
    except FencedOff:
        raise
    except Busy:
        return []


async def remove(store: Store, part: Path, look: Look, _held: Sequence[Lease] = ()) -> list[str]:
    """Move what is due aside, within one part of the state folder; return in words what was or could not be. `empty` removes it."""
    noted = await store.write(note, look, store.clock.now())
    return await store.write(move, look, noted, part / ASIDE, store.clock.now()) if noted else []


def note(connection: Connection, look: Look, at: float) -> list[Due]:
    """Write into the audit what is to go, and return it."""
    due = list(look(connection))[:MOST_AT_ONCE]
    for one in due:
        audit.record(connection, ACTOR, VERB, one.about, at=at, before=one.told, after=REMOVED)
    return due


def move(connection: Connection, look: Look, noted: Sequence[Due], aside: Path, at: float) -> list[str]:
    """Move aside what is still due, and return in words what came of it; nobody else writes meanwhile, so nobody comes to need it."""
    still, said = {path for one in look(connection) for path in one.paths}, []
    for one in noted:
        stays = move_one(one, aside) if still.issuperset(one.paths) else "it is needed again"
        if stays:
            audit.record(connection, ACTOR, VERB, one.about, at=at, before=one.told, after=f"stays: {stays}")
        said.append(f"the {one.told} stay: {stays}" if stays else f"removed the {one.told}")
    return said


def move_one(one: Due, aside: Path) -> str:
    """Move it aside; return why that can't be, empty: it was."""
    try:
        aside.mkdir(mode=0o700, exist_ok=True)
        for path in one.paths:
            if is_folder(path):
                path.chmod(0o700)  # only who may write into a folder may move it
            path.rename(aside / uuid.uuid4().hex)
    except OSError as error:
        return f"{error.filename or aside}: {error.strerror or error}"
    return ""


async def empty(parts: Iterable[Path]) -> list[str]:
    """Remove what was moved aside, now or before a kill; return what could not be, in words."""
    said, runner = [], LocalRunner("controller", Guard("controller"))
    for part in parts:
        try:
            await runner.change([Remove(HostPath(part / ASIDE))])
        except ManorError as error:
            said.append(f"{part / ASIDE}: stays: {error}")
    return said


def removals(connection: Connection, about: str) -> tuple[str, ...]:
    """Return what was removed of something and when, a line each; what was begun twice is told once."""
    lines = {line.before: line for line in audit.lines(connection, object=about) if line.verb == VERB}
    return tuple(f"the {line.before} were removed on {day(line.at)}" for line in lines.values() if line.after == REMOVED)


def day(at: float) -> str:
    """Return a day in UTC, e.g. `2026-01-31`."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def is_older(path: Path, at: float) -> bool:
    """Tell whether something is there and was last written before a moment."""
    try:
        return os.lstat(path).st_mtime < at
    except FileNotFoundError:
        return False
