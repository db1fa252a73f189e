"""How the controller removes what is its own: noted in the audit, moved aside, gone (docs/controller.md, retention).

Invariant: the line in the audit is durable before anything moves, and what moves is judged anew in the transaction that moves it.
Invariant: killed at any moment, what was moved aside is removed by the next pass, and what was not is found again.
Invariant: what can't be moved or removed bars the way of nothing else, and is told with its reason.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from manor.errors import Busy, FencedOff
from manor.execution.durable import is_folder, remove_each, told_stays
from manor.execution.local import in_thread
from manor.operations.leasing import hold
from manor.state import audit, operations
from manor.state.audit import AuditRow
from manor.state.folder import ASIDE
from manor.state.leases import Lease
from manor.state.store import Connection, Store

VERB = "retention"
ACTOR = "controller"
REMOVED = "removed"
STAYS = "stays: "
PARTLY = "removed in part, the rest "
MOST_AT_ONCE = 100
"""So many are removed of a service, a branch or the outputs in one pass; the rest is left for the next."""
DAY = 86400.0
REST_SECONDS = DAY
"""What could not be moved is left out so long; each further time for as long as it has been tried, so that the audit hardly grows by it."""


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
    due = to_try(connection, look(connection), at)[:MOST_AT_ONCE]
    for one in due:
        audit.record(connection, ACTOR, VERB, one.about, at=at, before=one.told, after=REMOVED)
    return due


def to_try(connection: Connection, due: Sequence[Due], at: float) -> list[Due]:
    """Return what is due but for what rests after it could not be moved; what was never tried comes first, so that nothing bars its way."""
    lines = audit.of_verb(connection, VERB, {one.about for one in due})
    fresh, again = [], []
    for one in due:
        told = [line for line in lines.get(one.about, ()) if line.before == one.told]
        if not told or told[-1].after == REMOVED:
            fresh.append(one)
        elif at - told[-1].at >= max(REST_SECONDS, told[-1].at - told[0].at):
            again.append(one)
    return [*fresh, *again]


def move(connection: Connection, look: Look, noted: Sequence[Due], aside: Path, at: float) -> list[str]:
    """Move aside what is still due, and return in words what came of it; nobody else writes meanwhile, so nobody comes to need it."""
    still, said = {path for one in look(connection) for path in one.paths}, []
    for one in noted:
        is_part, stays = move_one(one, aside) if still.issuperset(one.paths) else (False, "it is needed again")
        if stays:
            audit.record(connection, ACTOR, VERB, one.about, at=at, before=one.told, after=f"{PARTLY if is_part else ''}{STAYS}{stays}")
        said.append(told_end(one.told, stays, is_part=is_part))
    return said


def told_end(told: str, stays: str, *, is_part: bool) -> str:
    """Return in words what came of it."""
    if is_part:
        return f"removed the {told} in part, the rest stays: {stays}"
    return f"the {told} stay: {stays}" if stays else f"removed the {told}"


def move_one(one: Due, aside: Path) -> tuple[bool, str]:
    """Move it aside; return whether only a part was, and why the rest can't be, empty: all was."""
    moved = 0
    try:
        aside.mkdir(mode=0o700, exist_ok=True)
        for path in one.paths:
            if is_folder(path):
                path.chmod(0o700)  # only who may write into a folder may move it
            path.rename(aside / uuid.uuid4().hex)
            moved += 1
    except OSError as error:
        return moved > 0, f"{error.filename or aside}: {error.strerror or error}"
    return False, ""


async def empty(parts: Iterable[Path]) -> list[str]:
    """Remove what was moved aside, now or before a kill; return what could not be, in words."""
    return [line for part in parts for line in await in_thread(partial(empty_part, part))]


def empty_part(part: Path) -> list[str]:
    """Remove each thing that was moved aside in one part; former versions gave the folder itself another name before they emptied it."""
    folders = [folder for folder in (part / ASIDE, *sorted(part.glob(f".{ASIDE}.manor-*"))) if folder.is_dir()]
    return [f"{folder}: {told_stays(stays)}" for folder in folders if (stays := remove_each(folder))]


def removals(connection: Connection, about: str) -> tuple[str, ...]:
    """Return what was removed of something and when, a line each; what was begun twice is told once."""
    ends: dict[str, AuditRow] = {}
    begun: dict[str, AuditRow] = {}
    for line in audit.lines(connection, object=about, verb=VERB):
        if line.after == REMOVED:
            begun[line.before] = line
            continue
        begun.pop(line.before, None)
        if line.after.startswith(PARTLY):
            ends[line.before] = line
    return tuple(told_removal(line) for line in {**ends, **begun}.values())


def told_removal(line: AuditRow) -> str:
    """Return in words what was removed, and when."""
    return f"the {line.before} were removed {'' if line.after == REMOVED else 'in part '}on {day(line.at)}"


def day(at: float) -> str:
    """Return a day in UTC, e.g. `2026-01-31`."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def is_older(path: Path, at: float) -> bool:
    """Tell whether something is there and was last written before a moment."""
    try:
        return os.lstat(path).st_mtime < at
    except FileNotFoundError:
        return False
