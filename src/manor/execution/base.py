"""The contract of a runner: the one place that acts on a host.

Invariant: every act passes the host's `Guard` first; a runner implements only the underscored methods, so none can go round it.
Invariant: every act and every read is bounded in time, and cancelling its task ends it (a command's whole process group; file acts between two of them).
Only `ended` waits as long as the program lasts.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence

from manor.execution.bounded import CHANGE_SECONDS, READ_SECONDS, STEP_SECONDS, Begin, act_by_act, bounded, bounded_when_begun
from manor.execution.guard import Guard
from manor.execution.values import Act, Command, Completed, Connect, Detached, DetachedState, FileAct, HostPath, HttpRequest, PutTree, Remove, SocketCommand


class Runner(ABC):
    """Acts on one host, as far as its guard lets it."""

    read_seconds = READ_SECONDS
    """A read that has no answer by then raises TimedOut."""
    change_seconds = CHANGE_SECONDS
    """A file act that is not done by then raises TimedOut; unpacking and removing trees have their own `timeout_seconds` besides."""
    step_seconds = STEP_SECONDS
    """The same for the start and the end of a detached program."""

    def __init__(self, host: str, guard: Guard) -> None:
        """Act on `host` (`<environment>/<name>`) under `guard`."""
        self.host = host
        self.guard = guard

    async def run(self, command: Command) -> Completed:
        """Run to the end. Raises NotOurs, CommandFailed (a code outside ok_codes), TimedOut, Unreachable."""
        self.guard.check(command)
        return await self._run(command)

    async def talk(self, command: SocketCommand) -> Completed:
        """Say a line to a socket and read the answer to its end. Raises NotOurs, TimedOut, Unreachable."""
        self.guard.check(command)
        return await self._talk(command)

    async def request(self, request: HttpRequest) -> Completed:
        """Make one HTTP request, never retried. Raises NotOurs, CommandFailed, TimedOut, Unreachable."""
        self.guard.check(request)
        return await self._request(request)

    async def connect(self, connect: Connect) -> Completed:
        """Open a TCP connection and close it again. Raises NotOurs, TimedOut, Unreachable."""
        self.guard.check(connect)
        return await self._connect(connect)

    async def change(self, acts: Sequence[FileAct]) -> None:
        """Carry out file acts in order, each atomically and durably. All are checked before the first. Raises NotOurs, TimedOut, ManorError.

        Cancelled or out of time it ends between two acts at the latest: each one is done wholly or not at all.
        """
        for act in acts:
            self.guard.check(act)
        await act_by_act(lambda begin: self._change(acts, begin), self.seconds_for, self.host)

    async def carry_out(self, act: Act) -> Completed:
        """Carry out any act."""
        match act:
            case Command():
                return await self.run(act)
            case SocketCommand():
                return await self.talk(act)
            case HttpRequest():
                return await self.request(act)
            case Connect():
                return await self.connect(act)
            case _:
                await self.change([act])
                return Completed(0)

    async def read(self, paths: Iterable[HostPath]) -> Mapping[HostPath, bytes]:
        """Return the contents of those that exist, in one round trip; a link that points nowhere counts as absent. Raises NotOurs, TimedOut."""
        own = [self.guard.readable(path) for path in paths]
        return await bounded(self._read(own), self.read_seconds, self.host, "read", own)

    async def digest(self, paths: Iterable[HostPath]) -> Mapping[HostPath, str]:
        """Return sha256 (hex) of files, `-> target` of links, `folder` of folders that exist, in one round trip. Raises NotOurs, TimedOut."""
        own = [self.guard.readable(path) for path in paths]
        return await bounded(self._digest(own), self.read_seconds, self.host, "digest", own)

    async def listings(self, folders: Iterable[HostPath]) -> Mapping[HostPath, Sequence[str]]:
        """Return the names in each folder, sorted, in one round trip; none for one that does not exist. Raises NotOurs, TimedOut."""
        own = [self.guard.readable(folder) for folder in folders]
        return await bounded(self._listings(own), self.read_seconds, self.host, "listing", own)

    async def listing(self, folder: HostPath) -> Sequence[str]:
        """Return the names in one folder, as `listings` does."""
        return (await self.listings([folder]))[folder]

    async def start(self, step: Detached) -> DetachedState:
        """Start a detached program unless its key was started before, and return how it stands. Raises NotOurs, TimedOut, ManorError."""
        self._check_step(step)
        return await bounded_when_begun(lambda begin: self._start(step, begin), self.step_seconds, self.host, "start", [step.folder])

    async def attach(self, step: Detached) -> DetachedState:
        """Return how a detached program stands. Raises NotOurs, TimedOut."""
        return await bounded(self._attach(self._readable(step)), self.read_seconds, self.host, "attach", [step.folder])

    async def ended(self, step: Detached) -> None:
        """Return when a detached program has ended, or does not run at all; only a hint, after which `attach` tells. A runner that can't be told waits on."""
        await self._ended(self._readable(step))

    async def log(self, step: Detached, offset: int = 0) -> bytes:
        """Return what it has written since `offset` bytes, at most 1 MiB. Raises NotOurs, TimedOut."""
        return await bounded(self._log(self._readable(step), offset), self.read_seconds, self.host, "log", [step.folder])

    async def cancel(self, step: Detached) -> DetachedState:
        """End a detached program and all it started: TERM, 5 s, KILL. Returns how it stands. Raises NotOurs, TimedOut."""
        self._check_step(step)
        return await bounded(self._cancel(step), self.step_seconds, self.host, "cancel", [step.folder])

    def seconds_for(self, act: FileAct) -> float:
        """Return how long a file act may take."""
        return self.change_seconds + (act.timeout_seconds if isinstance(act, PutTree | Remove) else 0.0)

    def _check_step(self, step: Detached) -> None:
        self.guard.check(step.command)
        self.guard.check(step.folder_act)

    def _readable(self, step: Detached) -> Detached:
        self.guard.readable(step.folder, step.command.touch.subject)
        return step

    async def _ended(self, step: Detached) -> None:
        await asyncio.Event().wait()

    @abstractmethod
    async def _run(self, command: Command) -> Completed: ...
    @abstractmethod
    async def _talk(self, command: SocketCommand) -> Completed: ...
    @abstractmethod
    async def _request(self, request: HttpRequest) -> Completed: ...
    @abstractmethod
    async def _connect(self, connect: Connect) -> Completed: ...
    @abstractmethod
    async def _change(self, acts: Sequence[FileAct], begin: Begin) -> None: ...
    @abstractmethod
    async def _read(self, paths: Sequence[HostPath]) -> Mapping[HostPath, bytes]: ...
    @abstractmethod
    async def _digest(self, paths: Sequence[HostPath]) -> Mapping[HostPath, str]: ...
    @abstractmethod
    async def _listings(self, folders: Sequence[HostPath]) -> Mapping[HostPath, Sequence[str]]: ...
    @abstractmethod
    async def _start(self, step: Detached, begin: Callable[[], None]) -> DetachedState: ...
    @abstractmethod
    async def _attach(self, step: Detached) -> DetachedState: ...
    @abstractmethod
    async def _log(self, step: Detached, offset: int) -> bytes: ...
    @abstractmethod
    async def _cancel(self, step: Detached) -> DetachedState: ...
