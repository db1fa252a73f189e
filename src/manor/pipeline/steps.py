"""Carries out one step: finds out that it need not be done, or starts it, waits for it, takes in what it left.

Invariant: an attempt's row is durable before its program is started, and the program is started under a key of its own: whoever comes after
a crash attaches to it, takes its recorded exit code, or sees that it is lost, and never starts it a second time.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from manor.errors import ManorError, NotOurs
from manor.execution.local import in_thread
from manor.execution.values import Command, Detached, DetachedState, Effect, HostPath, Touch
from manor.pipeline import collecting
from manor.pipeline.book import Book
from manor.pipeline.definition import Step
from manor.pipeline.globs import selector
from manor.pipeline.keys import content_key, digest_of
from manor.pipeline.packing import folder_entries
from manor.pipeline.ports import PipelinePorts, RunFolder, environment
from manor.pipeline.results import Result, attempts_at, result_of
from manor.state import runs
from manor.state.runs import Run, RunStep
from manor.state.words import RunState

SCRIPT = Path(__file__).with_name("step.sh")
LOOK_SECONDS = 0.2
"""So often a running step is looked at, if nothing tells of its end before: it may have been cancelled."""
WRAPPER_GRACE = 7.0
MOST_LOST = 3
MOST_COPIED, MOST_COPIED_BYTES = 40, 1_000_000
OPEN = frozenset({RunState.WAITING, RunState.RUNNING})


@dataclass(frozen=True)
class Task:
    """One step of one run, and what it is carried out with."""

    name: str
    step: Step
    place: int
    run: Run
    service: str
    folder: RunFolder
    received: tuple[str, ...]
    """Digests of what the steps before left, in order."""
    machine: str
    deadline: float
    """Of the whole run."""
    is_copied_here: bool
    """The commit's files are few, so the engine copies them; `step.sh` does otherwise."""

    @property
    def source(self) -> Path | None:
        """The commit's files, unless the step sees chosen ones only."""
        return self.folder.source if self.step.inputs is None else None


class Attempts:
    """Carries out steps of one run."""

    def __init__(self, ports: PipelinePorts, book: Book) -> None:
        """Act through `ports`, write into `book`. `is_cancelled` is set from outside."""
        self.ports = ports
        self.book = book
        self.is_cancelled = False

    async def carry_out(self, task: Task, rows: Sequence[RunStep]) -> RunStep:
        """Return how the step ends, from what is known of it and by doing what is left. Raises FencedOff, Unreachable."""
        attempts = attempts_at(task.name, rows)
        last = attempts[-1] if attempts else None
        if last is not None and last.state not in OPEN and not result_of(last).lost:
            return last
        key, archives = plan_inputs(task) if task.step.inputs is None else await in_thread(lambda: plan_inputs(task))
        may_reuse = last is None or (last.state is RunState.WAITING and not result_of(last).forced)
        if may_reuse and self.ports.at_once.locked():  # what need not be done does not wait for its turn
            old = await self.book.store.read(runs.passed_before, key)
            if old is not None and (reused := await self._reuse(task, self._row(task, key, 1 if last is None else last.attempt), old)):
                return reused
        async with self.ports.at_once:
            return await self._until_not_lost(task, key, archives, attempts, may_reuse=may_reuse)

    async def _reuse(self, task: Task, row: RunStep, old: RunStep) -> RunStep | None:
        """Return the row of a step that passed before as `old`, if what it left is still there."""
        if self.is_cancelled:
            return None
        result, folder = result_of(old), self.book.store.folder
        now = self.book.store.clock.now()
        log = old.log if old.log.startswith("../") or old.run == row.run else f"../{old.run}/{old.log}"
        reused = result.model_copy(update={"reused": result.reused or old.run, "forced": False})
        done = replace(row, state=RunState.PASSED, deadline=None, started_at=now, ended_at=now, code=0, log=log, result=reused.model_dump_json())
        is_there = await self.book.put_if(done, lambda: collecting.is_there(result, task.folder.outputs, folder.artifacts))
        return done if is_there else None

    async def _until_not_lost(self, task: Task, key: str, archives: Sequence[Path], attempts: Sequence[RunStep], *, may_reuse: bool) -> RunStep:
        lost = sum(result_of(row).lost for row in attempts)
        last = attempts[-1] if attempts else None
        number = 1 if last is None else last.attempt + (0 if last.state in OPEN else 1)
        running = last if last is not None and last.state is RunState.RUNNING else None
        if last is not None and last.state not in OPEN and lost >= MOST_LOST:
            return last
        while True:
            row = running or await self._begin(task, self._row(task, key, number), may_reuse=may_reuse)
            if row.state is not RunState.RUNNING:
                return row
            done = await self._attempt(task, row, archives, is_new=running is None)
            lost += result_of(done).lost
            if not result_of(done).lost or lost >= MOST_LOST:
                return done
            number, running, may_reuse = done.attempt + 1, None, False

    def _row(self, task: Task, key: str, number: int) -> RunStep:
        """Return the row of an attempt that begins now."""
        now = self.book.store.clock.now()
        deadline = min(now + task.step.timeout, task.deadline)
        return RunStep(task.run.id, task.name, number, task.place, key, RunState.RUNNING, deadline, now, log=f"{task.name}/{number}/log")

    async def _begin(self, task: Task, row: RunStep, *, may_reuse: bool) -> RunStep:
        """Write that an attempt begins, or that the step passed before; return what was written."""
        if may_reuse and not self.is_cancelled:
            old = await self.book.begin(row)
            if old is None:
                return row
            if reused := await self._reuse(task, row, old):
                return reused
        await self.book.put(row)
        return row

    async def _attempt(self, task: Task, row: RunStep, archives: Sequence[Path], *, is_new: bool) -> RunStep:
        program = self._program(task, row, archives)
        state = DetachedState(started=False) if is_new else await self.ports.runner.attach(program)
        try:
            state = await self._end_of(program, row, task, state)
        except NotOurs as error:
            return await self._refused(row, error)
        workspace = task.folder.attempt(task.name, row.attempt) / "workspace"
        verdict, result = self._judge(state, row, task)
        if verdict is RunState.PASSED or (verdict is RunState.FAILED and task.step.kind == "test" and not result.lost):
            verdict, result = await self._take_in(task, workspace, verdict, result)
        done = replace(row, state=verdict, ended_at=self.book.store.clock.now(), code=state.code, result=result.model_dump_json())
        await self.book.put(done)
        return done

    async def _refused(self, row: RunStep, error: NotOurs) -> RunStep:
        """Return the row of a step whose program may not be started here."""
        done = replace(row, state=RunState.FAILED, ended_at=self.book.store.clock.now(), result=Result(summary=str(error)).model_dump_json())
        await self.book.put(done)
        return done

    def _program(self, task: Task, row: RunStep, archives: Sequence[Path]) -> Detached:
        folder = task.folder.attempt(task.name, row.attempt)
        source = "" if task.source is None or task.is_copied_here else str(task.source)
        env = environment(task.run, task.service, folder, task.folder.cache(task.run.repository), self.ports)
        command = Command(
            ("/bin/sh", str(SCRIPT), script(task.step), source, *map(str, archives)),
            touch=Touch(effect=Effect.INCLUDE, paths=(HostPath(folder),)),
            env={**env, **task.step.env},
            cwd=HostPath(folder),
        )
        limit = max((row.deadline or 0.0) - self.book.store.clock.now(), 0.001)
        return Detached(f"{row.run}/{row.name}/{row.attempt}", HostPath(folder), command, timeout_seconds=limit)

    async def _end_of(self, program: Detached, row: RunStep, task: Task, state: DetachedState) -> DetachedState:
        """Start the program unless it was, and return how it stands when it runs no more. `state`: how it stands now."""
        clock, runner = self.book.store.clock, self.ports.runner
        deadline = row.deadline or 0.0
        if not state.started and (clock.now() >= deadline or self.is_cancelled):
            return replace(state, timed_out=not self.is_cancelled)
        if not state.started:
            await in_thread(lambda: lay_out(Path(program.folder), task.source if task.is_copied_here else None))
            state = await runner.start(program)
        while state.code is None and not state.lost:
            if self.is_cancelled or clock.now() > deadline + WRAPPER_GRACE:
                return await runner.cancel(program)
            looked = clock.now()
            await first_of(runner.ended(program), clock.sleep(LOOK_SECONDS))
            state = await runner.attach(program)
            if state.code is None and not state.lost and clock.now() < looked + LOOK_SECONDS:
                await clock.sleep(LOOK_SECONDS)  # its wrapper is gone, what it started is not: of that nobody tells
        return state

    def _judge(self, state: DetachedState, row: RunStep, task: Task) -> tuple[RunState, Result]:
        if self.is_cancelled and state.code != 0:
            return RunState.CANCELLED, Result(summary="cancelled")
        if state.timed_out or (state.code is None and not state.lost):
            took = (row.deadline or 0.0) - (row.started_at or 0.0)
            return RunState.TIMED_OUT, Result(summary=f"was not done after {took:g} s and was ended with all it started")
        if state.lost:
            return RunState.FAILED, Result(lost=True, summary="ended without an exit code: the machine went down, or its wrapper was killed")
        if state.code:
            return RunState.FAILED, Result(summary=f"ended with code {state.code}")
        return RunState.PASSED, Result()

    async def _take_in(self, task: Task, workspace: Path, verdict: RunState, result: Result) -> tuple[RunState, Result]:
        """Return verdict and result after looking at what the step left."""
        try:
            if task.step.kind == "test":
                verdict, result = await in_thread(lambda: collecting.judge_reports(workspace, task.step, verdict, result))
            if task.step.kind == "artifact" and task.step.artifact is not None:
                part = task.step.artifact
                result = await collecting.pack_artifact(self.book.store, workspace, part, task.service, task.run)
            if verdict is RunState.PASSED and task.step.outputs:
                result = await in_thread(lambda: collecting.keep_outputs(workspace, task.step, task.folder.outputs, result))
        except ManorError as error:
            return RunState.FAILED, result.model_copy(update={"summary": str(error)})
        return verdict, result


async def first_of(*work: Coroutine[object, object, None]) -> None:
    """Wait for the first of several to end; the others are given up."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def end_left(row: RunStep, folder: RunFolder, ports: PipelinePorts) -> RunStep:
    """End what an executor left running of a run that was cancelled, and return the row as it is then."""
    place = HostPath(folder.attempt(row.name, row.attempt))
    program = Detached(f"{row.run}/{row.name}/{row.attempt}", place, Command(("true",), touch=Touch(effect=Effect.INCLUDE, paths=(place,))))
    state = await ports.runner.cancel(program)
    return replace(row, state=RunState.CANCELLED, code=state.code, ended_at=ports.store.clock.now(), result=Result(summary="cancelled").model_dump_json())


def lay_out(attempt: Path, source: Path | None) -> None:
    """Make an attempt's folders, with the commit's files if they are to be copied here.

    Once `workspace` has its name it is not touched: an executor that died may have started a wrapper that has not claimed the folder yet.
    """
    if (attempt / "workspace").is_dir():
        return
    new = attempt / ".workspace"
    shutil.rmtree(new, ignore_errors=True)
    (attempt / "home").mkdir(mode=0o700, parents=True, exist_ok=True)
    if source is not None:
        shutil.copytree(source, new, symlinks=True)
    else:
        new.mkdir()
    new.rename(attempt / "workspace")


def is_small(folder: Path) -> bool:
    """Tell whether a folder holds so few files, and no large one, that copying them here takes less time than starting `cp`."""
    found = itertools.islice(folder.rglob("*"), MOST_COPIED + 1)
    sizes = [path.lstat().st_size for path in found]
    return len(sizes) <= MOST_COPIED and sum(sizes) <= MOST_COPIED_BYTES


def script(step: Step) -> str:
    """Return a step's command lines as one text for `sh -e`."""
    return "\n".join(step.commands)


def plan_inputs(task: Task) -> tuple[str, tuple[Path, ...]]:
    """Return a step's content key, and the archives that its workspace is laid out from. Reads the commit's files; packs chosen inputs."""
    archives = tuple(task.folder.outputs / f"{digest}.tar" for digest in task.received)
    if task.step.inputs is None:
        return content_key(task.step, task.service, task.run.commit, task.received, task.machine), archives
    entries = folder_entries(task.folder.source, selector(task.step.inputs))
    key = content_key(task.step, task.service, digest_of(entries), task.received, task.machine)
    return key, (collecting.keep_inputs(task.folder.outputs, entries), *archives)
