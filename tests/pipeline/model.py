"""A runner whose programs are values, and a clock that moves by being waited for: pipelines in a time of their own."""

from __future__ import annotations

import asyncio
import sys
import tarfile
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from manor.execution.guard import Guard
from manor.execution.recording import RecordingRunner
from manor.execution.values import Detached, DetachedState
from manor.state.store import Store

P = ParamSpec("P")
T = TypeVar("T")


REPORT = '<testsuite><testcase name="a"/></testsuite>'


class FreeClock:
    """Each sleep moves it on, but not while a thread does real work: that takes no time here, however slow the machine."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        while threads_at_work():  # noqa: ASYNC110 -- nobody can tell us
            await asyncio.sleep(0.001)
        self.time += seconds

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        return asyncio.timeout(None)


def threads_at_work() -> bool:
    """Tell whether a thread of any pool has something to do: an idle one waits in its pool's own function."""
    frames = sys._current_frames()
    mine = threading.get_ident()
    return any(frame.f_code.co_name != "_worker" for thread, frame in frames.items() if thread != mine and is_pooled(frame))


def is_pooled(frame: FrameType | None) -> bool:
    """Tell whether a thread belongs to a pool."""
    while frame is not None:
        if frame.f_code.co_name == "_worker":
            return True
        frame = frame.f_back
    return False


@dataclass(frozen=True)
class Program:
    """What a step's program does."""

    seconds: float = 1.0
    code: int = 0
    leaves: tuple[str, ...] = ()
    dies: bool = False
    """Without an exit code."""


@dataclass
class World:
    """What goes on, whoever watches: survives every controller."""

    clock: FreeClock
    programs: dict[str, Program] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    """When each key was started."""
    ended: dict[str, DetachedState] = field(default_factory=dict)

    def start(self, step: Detached) -> None:
        if step.key in self.begun:
            return
        self.begun[step.key] = self.clock.now()
        workspace = Path(step.folder) / "workspace"
        for archive in step.command.argv[4:]:
            with tarfile.open(str(archive)) as tar:
                tar.extractall(workspace)
        for name in self.program(step).leaves:
            (workspace / name).write_text(REPORT if name.endswith(".xml") else name)

    def program(self, step: Detached) -> Program:
        return self.programs.get(step.key.split("/")[1], Program())

    def stand(self, step: Detached) -> DetachedState:
        if step.key not in self.begun:
            return DetachedState(started=False)
        if step.key in self.ended:
            return self.ended[step.key]
        program, ran = self.program(step), self.clock.now() - self.begun[step.key]
        if ran >= min(program.seconds, step.timeout_seconds):
            is_late = step.timeout_seconds < program.seconds
            code = None if program.dies else 143 if is_late else program.code
            self.ended[step.key] = DetachedState(True, code, lost=program.dies, timed_out=is_late)
        return self.ended.get(step.key, DetachedState(started=True))


class Killed(BaseException):
    """The controller is no more."""


@dataclass
class Life:
    """One controller's life: it ends at a boundary, and nothing that it does afterwards has an effect."""

    fatal: int = 0
    passed: int = 0

    def cross(self) -> None:
        self.passed += 1
        if self.fatal and self.passed >= self.fatal:
            raise Killed


class ModelRunner(RecordingRunner):
    """Runs programs of a world."""

    def __init__(self, world: World, life: Life) -> None:
        super().__init__("controller", Guard("controller"))
        self.world = world
        self.life = life

    async def _start(self, step: Detached, begin: Callable[[], None]) -> DetachedState:
        self.life.cross()
        self.world.start(step)
        self.life.cross()
        return self.world.stand(step)

    async def _attach(self, step: Detached) -> DetachedState:
        return self.world.stand(step)

    async def _cancel(self, step: Detached) -> DetachedState:
        state = self.world.stand(step)
        if state.started and state.code is None and not state.lost:
            self.world.ended[step.key] = replace(state, code=143)
        return self.world.stand(step)


class MortalStore(Store):
    """A store whose writes are boundaries."""

    life = Life()

    async def write(self, do: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.life.cross()
        result = await super().write(do, *args, **kwargs)
        self.life.cross()
        return result
