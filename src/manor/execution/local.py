"""The runner that acts on this machine (docs/execution.md).

Invariant: a path is held against the guard twice: as written, and as it really lies, links followed.
Invariant: no thread writes behind the back of a task that was cancelled or is out of time. A call that hangs is left behind, and nothing comes after it.
Invariant: no folder of a step is looked at in the event loop: a share that is gone would stop everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from manor.errors import ApplyFailed
from manor.execution import detached, files, processes, reading, sockets
from manor.execution.base import Runner
from manor.execution.bounded import LEAVE_SECONDS, Begin, in_kept_thread, in_own_thread
from manor.execution.durable import Disk
from manor.execution.guard import Guard
from manor.execution.leash import LeashedDisk
from manor.execution.processes import Place
from manor.execution.values import Command, Completed, Connect, Detached, DetachedState, FileAct, HostPath, HttpRequest, SocketCommand

Result = TypeVar("Result")
LOG_PIECE_BYTES = 1024 * 1024
AT_ONCE = 64
LOOKS_AT_ONCE = 8
"""Of one runner. Each has a thread; one that hangs gives its place back when its time is up."""
END_OF_WORK_SECONDS = 300.0
"""So long a cancelled task waits for the end of the controller's own work on files: nobody may tidy up under it."""


class LocalRunner(Runner):
    """Acts on this machine as the user who runs it."""

    leave_seconds = LEAVE_SECONDS
    """So long a cancelled file act may take to end; it begins nothing more meanwhile."""

    def __init__(
        self,
        host: str,
        guard: Guard,
        *,
        root: HostPath | None = None,
        limit: asyncio.Semaphore | None = None,
        disk: Disk | None = None,
        grace_seconds: float = 5.0,
    ) -> None:
        """Act on `host`; commands start in `root` (`/` without one, or until it exists).

        `limit` bounds how many acts go on at once over all runners that share it; each has its own without one.
        A program that is ended early has `grace_seconds` between TERM and KILL.
        """
        super().__init__(host, guard)
        self.root = root
        self._limit = limit or asyncio.Semaphore(AT_ONCE)
        self._looks = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._disk = disk or Disk()
        self._grace_seconds = grace_seconds

    async def _run(self, command: Command) -> Completed:
        async with self._limit:
            return await processes.run(command, self._place())

    async def _talk(self, command: SocketCommand) -> Completed:
        async with self._limit:
            return await sockets.talk(command, self.host)

    async def _request(self, request: HttpRequest) -> Completed:
        from manor.execution import http_requests  # the HTTP client takes 60 ms to import: only who asks pays

        async with self._limit:
            return await http_requests.request(request, self.host)

    async def _connect(self, connect: Connect) -> Completed:
        async with self._limit:
            return await sockets.connect(connect, self.host)

    async def _change(self, acts: Sequence[FileAct], begin: Begin) -> None:
        async with self._limit:
            for act in acts:
                begin(act)
                disk = LeashedDisk(self._disk)
                await in_kept_thread(partial(self._change_one, disk, act), disk.give_up, self.leave_seconds)

    async def _read(self, paths: Sequence[HostPath]) -> Mapping[HostPath, bytes]:
        return await self._look(lambda: reading.read(self._readable_where_they_lie(paths, files.followed)))

    async def _digest(self, paths: Sequence[HostPath]) -> Mapping[HostPath, str]:
        return await self._look(lambda: reading.digest(self._readable_where_they_lie(paths, files.place_of)))

    async def _listings(self, folders: Sequence[HostPath]) -> Mapping[HostPath, Sequence[str]]:
        return await self._look(lambda: reading.listings(self._readable_where_they_lie(folders, files.followed)))

    async def _start(self, step: Detached, begin: Callable[[], None]) -> DetachedState:
        async with self._limit:
            begin()
            disk = LeashedDisk(self._disk)
            return await in_kept_thread(lambda: self._start_one(disk, step), disk.give_up, self.leave_seconds)

    async def _attach(self, step: Detached) -> DetachedState:
        return await self._look(lambda: detached.stand(step))

    async def _ended(self, step: Detached) -> None:
        await detached.wait_for_wrapper(await in_own_thread(lambda: detached.identity_in(Path(step.folder))))

    async def _log(self, step: Detached, offset: int) -> bytes:
        return await self._look(lambda: reading.tail(step.folder / "log", offset, LOG_PIECE_BYTES))

    async def _cancel(self, step: Detached) -> DetachedState:
        return await detached.end(step)

    async def _look(self, work: Callable[[], Result]) -> Result:
        async with self._looks:
            return await in_own_thread(work)

    def _readable_where_they_lie(self, paths: Sequence[HostPath], follow: Callable[[HostPath], HostPath]) -> Sequence[HostPath]:
        """Return the paths. Raises NotOurs if one of them leads over a link to what is untouchable."""
        if self.guard.untouchable.paths:
            guard = self.guard.followed(files.followed)
            for path in paths:
                guard.readable(follow(path))
        return paths

    def _place(self) -> Place:
        is_there = self.root is not None and Path(self.root).is_dir()
        return Place(self.host, self.root if self.root is not None and is_there else HostPath("/"), self._grace_seconds)

    def _start_one(self, disk: Disk, step: Detached) -> DetachedState:
        """Start a step. A thread that was given up claims nothing any more, so a wrapper that it starts ends by itself."""
        self._check_where_it_lies(step.folder_act)
        try:
            return detached.start(disk, step, self._place())
        except OSError as error:
            where = error.filename or step.folder
            raise ApplyFailed(f"{self.host}: the detached step {step.key} was not started: {where}: {error.strerror or error}") from error

    def _change_one(self, disk: Disk, act: FileAct) -> None:
        self._check_where_it_lies(act)
        try:
            files.carry_out(disk, act)
        except OSError as error:
            raise ApplyFailed(f"{self.host}: {type(act).__name__} {act.path}: {error.strerror or error}; it is as it was") from error

    def _check_where_it_lies(self, act: FileAct) -> None:
        self.guard.followed(files.followed).check(replace(act, path=files.place_of(act.path)))


async def in_thread(work: Callable[[], Result]) -> Result:
    """Do blocking work on the controller's own files in a thread; when cancelled, wait for its end before giving way, at most five minutes."""
    return await in_kept_thread(work, lambda: None, END_OF_WORK_SECONDS)
