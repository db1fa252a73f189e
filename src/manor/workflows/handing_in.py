"""Artifacts handed in through the API: noted durably, delivered in the background, found again by the next controller (docs/controller.md).

Invariant: what was acknowledged has its note on the disk until it is delivered or a person has to decide.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from manor.errors import Busy, ManorError, UsageError
from manor.execution.durable import Disk
from manor.execution.files import carry_out
from manor.execution.values import HostPath, MakeFolder, PutFile, Remove
from manor.operations.events import Event
from manor.state import operations, releases
from manor.state.operations import Operation
from manor.workflows.context import Context
from manor.workflows.delivery import Delivered, deliver, first_environment
from manor.workflows.rolling import Carrying

log = logging.getLogger(__name__)
FOLDER = "deliveries"


@dataclass(frozen=True)
class Note:
    """An artifact that is to be delivered."""

    service: str
    artifact: str
    to: str
    actor: str

    @property
    def name(self) -> str:
        """Return the name of its file: the same wish has the same note."""
        return f"{self.artifact}-{self.to or 'all'}.json"


NOTE: TypeAdapter[Note] = TypeAdapter(Note)


class Deliveries:
    """Delivers what was handed in, several services side by side."""

    def __init__(self, context_of: Callable[[], Context], settle: Callable[[str, Carrying], Awaitable[None]], carrying: Carrying) -> None:
        """Deliver under the estate that `context_of` gives at the time, after `settle` has brought what died of a service to its end."""
        self._context_of = context_of
        self._settle = settle
        self._carrying = carrying
        self._tasks: dict[str, asyncio.Task[list[Delivered]]] = {}

    @property
    def folder(self) -> Path:
        """Where the notes are."""
        return self._context_of().folder / FOLDER

    async def accept(self, note: Note) -> Operation:
        """Note a delivery and begin it; return the operation of its first rollout as soon as there is one. Raises what kept it from beginning."""
        disk = Disk()
        carry_out(disk, MakeFolder(HostPath(self.folder), 0o700))
        carry_out(disk, PutFile(HostPath(self.folder / note.name), NOTE.dump_json(note), 0o600))
        begun: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = self._begin(note, begun)
        waiting: list[asyncio.Future[Any]] = [task, begun]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        store = self._context_of().store
        return await store.read(operations.get, begun.result() if begun.done() else await self._there_already(note, await task))

    async def _there_already(self, note: Note, delivered: list[Delivered]) -> str:
        """Return the operation that had brought a release before. Raises UsageError if none is known."""
        context = self._context_of()
        rows = await context.store.read(releases.certifications, first_environment(context, note.service), note.service)
        found = [row.operation for row in rows if delivered and row.release.startswith(delivered[0].release)]
        if not found:
            raise UsageError(f"{note.service}: nothing was begun: {'; '.join(one.note for one in delivered)}")
        return found[-1]

    async def catch_up(self) -> None:
        """Begin what was noted and is not under way."""
        for path in sorted(self.folder.glob("*.json")):
            if path.name not in self._tasks:
                self._begin(NOTE.validate_json(path.read_bytes()))

    def _begin(self, note: Note, begun: asyncio.Future[str] | None = None) -> asyncio.Task[list[Delivered]]:
        task = asyncio.create_task(self._deliver(note, begun), name=f"deliver {note.service}")
        self._tasks[note.name] = task
        task.add_done_callback(lambda ended: self._ended(note, ended))
        return task

    async def _deliver(self, note: Note, begun: asyncio.Future[str] | None) -> list[Delivered]:
        await self._settle(note.service, self._carrying)

        def tell(event: Event) -> None:
            if begun is not None and not begun.done():
                begun.set_result(event.operation)
            self._carrying.tell(event)

        carrying = replace(self._carrying, actor=note.actor, tell=tell)
        return await deliver(self._context_of(), note.service, note.artifact, carrying, to=note.to)

    def _ended(self, note: Note, task: asyncio.Task[list[Delivered]]) -> None:
        self._tasks.pop(note.name, None)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Busy) or (error is not None and not isinstance(error, ManorError)):
            log.warning("%s %s is tried again: %s", note.service, note.artifact[:12], error)
            return
        if error is not None:
            log.warning("%s %s was not delivered: %s", note.service, note.artifact[:12], error)
        carry_out(Disk(), Remove(HostPath(self.folder / note.name)))
