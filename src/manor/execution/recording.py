"""The runner that notes what it is asked instead of doing it: dry run and test double in one.

Invariant: passes the same guard and raises the same errors as one that acts; the contract test holds it to that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from manor.errors import ApplyFailed, ManorError
from manor.execution import processes
from manor.execution.base import Runner
from manor.execution.bounded import Begin
from manor.execution.guard import Guard, is_inside
from manor.execution.memory import MemoryFiles
from manor.execution.messages import shown
from manor.execution.values import (
    Act,
    Command,
    Completed,
    Connect,
    Detached,
    DetachedState,
    Effect,
    FileAct,
    HostPath,
    HttpRequest,
    PutFile,
    Remove,
    SocketCommand,
)

Found = TypeVar("Found", str, bytes)
Answer: TypeAlias = Completed | ManorError | Callable[[Act], Completed]


@dataclass(frozen=True)
class Reply:
    """What to answer to an act whose shown text contains `to`; `times` limits how often, None: always."""

    to: str
    answer: Answer
    times: int | None = None


class RecordingRunner(Runner):
    """Notes every act; keeps files in memory; answers commands, sockets and requests from replies, and with an empty success without one."""

    def __init__(
        self,
        host: str,
        guard: Guard,
        *,
        replies: Iterable[Reply] = (),
        files: Mapping[HostPath, bytes] | None = None,
        over: Runner | None = None,
    ) -> None:
        """Stand in for `host`. A dry run is `over` a real runner: what only reads is really read there, through changes noted before."""
        super().__init__(host, guard)
        self.acts: list[Act] = []
        self.steps: dict[str, DetachedState] = {}
        self.files = MemoryFiles()
        self._replies = list(replies)
        self._logs: dict[str, bytes] = {}
        self._over = over
        for path, content in (files or {}).items():
            self.files.carry_out(PutFile(path, content))

    def reply(self, to: str, answer: Answer, *, times: int | None = None) -> None:
        """Answer acts whose shown text contains `to` like this from now on; the newest matching reply wins."""
        self._replies.insert(0, Reply(to, answer, times))

    @property
    def shown(self) -> tuple[str, ...]:
        """All acts so far, as a person reads them."""
        return tuple(map(shown, self.acts))

    async def _run(self, command: Command) -> Completed:
        return processes.judged(command, await self._answer(command), ended=True, host=self.host)

    async def _talk(self, command: SocketCommand) -> Completed:
        return await self._answer(command)

    async def _request(self, request: HttpRequest) -> Completed:
        from manor.execution import http_requests  # the HTTP client takes 60 ms to import: only who asks pays

        return http_requests.judged(request, await self._answer(request, otherwise=200), self.host)

    async def _connect(self, connect: Connect) -> Completed:
        return await self._answer(connect)

    async def _change(self, acts: Sequence[FileAct], begin: Begin) -> None:
        for act in acts:
            begin(act)
            self._check_where_it_lies(act)
            try:
                self.files.carry_out(act)
            except OSError as error:
                raise ApplyFailed(f"{self.host}: {shown(act)}: {error.strerror or error}; it is as it was") from error
            self.acts.append(act)

    async def _read(self, paths: Sequence[HostPath]) -> Mapping[HostPath, bytes]:
        self._require_readable(map(self.files.followed, paths))
        below = await self._over.read(paths) if self._over else {}
        return {**self._unhidden(below), **self.files.read(paths)}

    async def _digest(self, paths: Sequence[HostPath]) -> Mapping[HostPath, str]:
        self._require_readable(map(self._place_of, paths))
        below = await self._over.digest(paths) if self._over else {}
        return {**self._unhidden(below), **self.files.digest(paths)}

    async def _listings(self, folders: Sequence[HostPath]) -> Mapping[HostPath, Sequence[str]]:
        self._require_readable(map(self.files.followed, folders))
        below = await self._over.listings(folders) if self._over else {}
        return {folder: self._names_in(folder, below.get(folder, ())) for folder in folders}

    def _names_in(self, folder: HostPath, below: Sequence[str]) -> tuple[str, ...]:
        kept = self._unhidden({folder / name: name for name in below}).values()
        return tuple(sorted({*kept, *self.files.listing(folder)}))

    async def _start(self, step: Detached, begin: Callable[[], None]) -> DetachedState:
        begin()
        if step.key not in self.steps:
            completed = await self._answer(step.command)
            self.steps[step.key] = DetachedState(started=True, code=completed.code, log_bytes=len(completed.out))
            self._logs[step.key] = completed.out
        return self.steps[step.key]

    async def _attach(self, step: Detached) -> DetachedState:
        return self.steps.get(step.key, DetachedState(started=False))

    async def _log(self, step: Detached, offset: int) -> bytes:
        return self._logs.get(step.key, b"")[offset:]

    async def _cancel(self, step: Detached) -> DetachedState:
        state = await self._attach(step)
        if state.started and state.code is None and not state.lost:
            self.steps[step.key] = state = replace(state, code=143)
        return state

    async def _answer(self, act: Command | SocketCommand | HttpRequest | Connect, otherwise: int = 0) -> Completed:
        self.acts.append(act)
        reply = self._find_reply(act)
        if reply is None:
            is_reading = self._over is not None and act.touch.effect == Effect.READ
            return await self._over.carry_out(act) if self._over and is_reading else Completed(otherwise)
        if isinstance(reply.answer, ManorError):
            raise reply.answer
        return reply.answer if isinstance(reply.answer, Completed) else reply.answer(act)

    def _find_reply(self, act: Act) -> Reply | None:
        text = shown(act)
        for place, reply in enumerate(self._replies):
            if reply.to in text and reply.times != 0:
                self._replies[place] = replace(reply, times=None if reply.times is None else reply.times - 1)
                return reply
        return None

    def _unhidden(self, below: Mapping[HostPath, Found]) -> dict[HostPath, Found]:
        removed = [act.path for act in self.acts if isinstance(act, Remove)]
        return {path: below[path] for path in below if not any(is_inside(path, gone) for gone in removed)}

    def _check_where_it_lies(self, act: FileAct) -> None:
        self.guard.followed(self.files.followed).check(replace(act, path=self._place_of(act.path)))

    def _require_readable(self, real: Iterable[HostPath]) -> None:
        if self.guard.untouchable.paths:
            guard = self.guard.followed(self.files.followed)
            for path in real:
                guard.readable(path)

    def _place_of(self, path: HostPath) -> HostPath:
        return self.files.followed(path.parent) / path.name
