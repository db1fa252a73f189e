"""Carries out a run: its steps as a graph, branches side by side, from wherever an executor before left it.

Invariant: what is done is told from rows and from the steps' own folders, never from memory; a run may be begun again at any point.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace

from manor.errors import FencedOff, ManorError
from manor.execution.local import in_thread
from manor.execution.values import HostPath
from manor.pipeline.book import Book
from manor.pipeline.definition import Pipeline, load_pipeline
from manor.pipeline.ports import Deliver, PipelinePorts, RunFolder
from manor.pipeline.results import last_attempts, result_of
from manor.pipeline.steps import OPEN, Attempts, Task, end_left, is_small
from manor.state import releases
from manor.state.leases import Lease
from manor.state.runs import Run, RunStep
from manor.state.words import RunState

LOOK_FOR_CANCEL_SECONDS = 0.5


async def run_pipeline(run: Run, lease: Lease, ports: PipelinePorts, deliver: Deliver | None = None) -> Run:
    """Carry a run out to its end, and deliver what it built; return how it ended.

    `lease` is that of the run's ref (`executing.lease_name`), held by the caller. Raises FencedOff when it was lost.
    """
    book = Book(ports.store, run.id, lease)
    if run.state not in OPEN or (await book.set(RunState.RUNNING, summary=run.summary)).state is RunState.CANCELLED:
        return await _end_what_is_left(book, ports)
    folder = RunFolder(ports.store.folder.runs, run.id)
    try:
        await _check_out(run, folder, ports)
        pipeline = load_pipeline(folder.source)
        return await _carry_out(run, pipeline, folder, ports, book, deliver)
    except FencedOff:
        raise
    except ManorError as error:
        return await book.set(RunState.FAILED, summary=str(error))
    except OSError as error:
        return await book.set(RunState.FAILED, summary=f"{error.filename or folder.path}: {error.strerror or error}")


async def _carry_out(run: Run, pipeline: Pipeline, folder: RunFolder, ports: PipelinePorts, book: Book, deliver: Deliver | None) -> Run:
    if run.deadline is None:
        run = await book.set(RunState.RUNNING, deadline=ports.store.clock.now() + pipeline.timeout)
    steps = await _Graph(run, pipeline, folder, ports, book).carry_out()
    await in_thread(lambda: _clear(steps.values(), folder))
    return await _conclude(steps, book, ports, deliver)


async def _check_out(run: Run, folder: RunFolder, ports: PipelinePorts) -> None:
    """Leave the commit's files in the run's folder, wholly or not at all."""
    await in_thread(lambda: folder.prepare(run.repository))
    if folder.source.is_dir():
        return
    new = folder.source.with_name(".source.new")
    await in_thread(lambda: shutil.rmtree(new, ignore_errors=True))
    await ports.checkout(run, HostPath(new))
    new.rename(folder.source)


class _Graph:
    """The steps of one run on their way."""

    def __init__(self, run: Run, pipeline: Pipeline, folder: RunFolder, ports: PipelinePorts, book: Book) -> None:
        self.run = run
        self.pipeline = pipeline
        self.folder = folder
        self.ports = ports
        self.book = book
        self.attempts = Attempts(ports, book)
        self.service = pipeline.service or ports.service_of(run.repository) or ""
        self.rows: tuple[RunStep, ...] = ()
        self.machine = ""
        self.is_small = False

    async def carry_out(self) -> Mapping[str, RunStep]:
        """Return how each step ended, in order. Raises what a step raises that says nothing of the step: FencedOff, Unreachable."""
        self.rows = await self.book.steps()
        self.machine = await in_thread(self.ports.describe_machine)
        self.is_small = await in_thread(lambda: is_small(self.folder.source))
        watching = asyncio.create_task(self._watch())
        tasks: dict[str, asyncio.Task[RunStep]] = {}
        try:
            async with asyncio.TaskGroup() as group:
                for name in self.pipeline.steps:
                    tasks[name] = group.create_task(self._step(name, dict(tasks)))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        return {name: task.result() for name, task in tasks.items()}

    async def _watch(self) -> None:
        """See that somebody cancels the run."""
        while not self.attempts.is_cancelled:
            self.attempts.is_cancelled = (await self.book.read()).state is RunState.CANCELLED
            await self.ports.store.clock.sleep(LOOK_FOR_CANCEL_SECONDS)

    async def _step(self, name: str, others: Mapping[str, asyncio.Task[RunStep]]) -> RunStep:
        before = {need: await others[need] for need in self.pipeline.before(name)}
        failed = [need for need, row in before.items() if row.state is not RunState.PASSED]
        if failed or self.attempts.is_cancelled:
            return await self._skip(name, f"{failed[0]} did not pass" if failed else "the run was cancelled")
        received = tuple(digest for row in before.values() if (digest := result_of(row).outputs))
        place = list(self.pipeline.steps).index(name)
        deadline = self.run.deadline or self.ports.store.clock.now() + self.pipeline.timeout
        task = Task(name, self.pipeline.steps[name], place, self.run, self.service, self.folder, received, self.machine, deadline, self.is_small)
        return await self.attempts.carry_out(task, self.rows)

    async def _skip(self, name: str, why: str) -> RunStep:
        last = last_attempts(self.rows).get(name)
        if last is not None and last.state not in OPEN:
            return last
        place = list(self.pipeline.steps).index(name)
        row = last or RunStep(self.run.id, name, 1, place, "", RunState.SKIPPED)
        result = result_of(row).model_copy(update={"summary": why})
        row = replace(row, state=RunState.SKIPPED, ended_at=self.ports.store.clock.now(), result=result.model_dump_json())
        await self.book.put(row)
        return row


def _clear(steps: Iterable[RunStep], folder: RunFolder) -> None:
    """Take away the workspaces of steps that passed; those of others stay for whoever asks why."""
    for row in steps:
        if row.state is RunState.PASSED and row.log.startswith(f"{row.name}/"):
            shutil.rmtree(folder.attempt(row.name, row.attempt) / "workspace", ignore_errors=True)


async def _conclude(steps: Mapping[str, RunStep], book: Book, ports: PipelinePorts, deliver: Deliver | None) -> Run:
    """Write how the run ended; in between deliver what it built."""
    state, summary = verdict_of(steps)
    if state is not RunState.PASSED:
        return await book.set(state, summary=summary)
    digest = next((found for row in steps.values() if (found := result_of(row).artifact)), "")
    if digest and deliver is not None:
        run = await book.set(RunState.RUNNING, summary=f"built {digest[:12]}; on its way", artifact=digest)
        try:
            await deliver(run, await ports.store.read(releases.get_artifact, digest))
        except FencedOff:
            raise
        except ManorError as error:
            return await book.set(RunState.FAILED, summary=f"built {digest[:12]}, but it was not delivered: {error}", artifact=digest)
    return await book.set(RunState.PASSED, summary=f"built {digest[:12]}" if digest else "passed; it has no artifact step", artifact=digest)


def verdict_of(steps: Mapping[str, RunStep]) -> tuple[RunState, str]:
    """Return how a run ended by its steps: as the first that did not pass."""
    for name, row in steps.items():
        if row.state not in (RunState.PASSED, RunState.SKIPPED):
            return row.state, f"{name}: {result_of(row).summary}"
    skipped = [name for name, row in steps.items() if row.state is RunState.SKIPPED]
    return (RunState.CANCELLED, f"{skipped[0]}: was not done") if skipped else (RunState.PASSED, "")


async def _end_what_is_left(book: Book, ports: PipelinePorts) -> Run:
    """End what an ended run's executor left running when it died."""
    for row in await book.steps():
        if row.state is RunState.RUNNING:
            await book.put(await end_left(row, RunFolder(ports.store.folder.runs, row.run), ports))
    return await book.read()
