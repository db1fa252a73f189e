"""What the controller does with pushes, runs and hand-ins: the workflows behind the API and the workers (docs/controller.md)."""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from manor.errors import InvalidEstate, ManorError
from manor.estate.load import load_estate
from manor.execution.guard import Guard
from manor.execution.local import LocalRunner, in_thread
from manor.execution.values import HostPath, Secret
from manor.integrations.repositories.base import Hosting, RepositoryRules
from manor.operations.adoption import find_orphans
from manor.operations.chaos import Chaos, no_chaos
from manor.operations.events import Event, Listener, What, silent
from manor.pipeline.ports import PipelinePorts
from manor.registry import default_product, product
from manor.state import runs
from manor.state.deliveries import Delivery, Wish
from manor.state.operations import Operation
from manor.state.releases import Artifact
from manor.state.runs import Run, RunStep
from manor.state.words import RunState
from manor.workflows.artifacts import Origin, keep_file
from manor.workflows.context import Context
from manor.workflows.deliveries import SHIP, accept_and_write_down, deliver, delivery_of, entrance
from manor.workflows.delivery import summary_lines
from manor.workflows.follow import follow_operation, follow_run
from manor.workflows.handing_in import Deliveries
from manor.workflows.housekeeping import keep_traffic, revive, rotate_logs, rotate_own_logs
from manor.workflows.ledger import Ledger
from manor.workflows.receipts import write_missing_receipts
from manor.workflows.repositories import HostedRepositories
from manor.workflows.resuming import resume_operation
from manor.workflows.retention import clean
from manor.workflows.rolling import Carrying

REST_SECONDS = 10.0
log = logging.getLogger(__name__)
DELIVERY = "deliver"
DELIVERY_PLACE = 1_000_000
WAIT_SECONDS = 900.0
ACTOR = "controller"


@dataclass(frozen=True)
class Serving:
    """What a controller says of itself when it listens."""

    estate: str
    url: str
    first_admin_token: Secret | None = None
    """Shown once."""


SETTLED_SECONDS = 30.0
"""So long a verb that ended an operation may take to write its receipt."""


@dataclass
class Controller:
    """The workflows of one state folder, for a long-running process."""

    context: Context
    wheelhouse: Path | None = None
    chaos: Chaos = no_chaos
    listener: Listener = silent
    """Hears every event of every operation that is carried out here, beside the log."""
    complaint: str = ""
    """What is wrong with the estate file, said once."""

    def __post_init__(self) -> None:
        """Find the repositories and the ledger."""
        self._adopting: dict[str, asyncio.Task[None]] = {}
        self._resting: dict[str, float] = {}
        """Until when, by its id, an operation that could not be gone on with is not tried again."""
        self._told: set[str] = set()
        self.deliveries = Deliveries(lambda: self.context, self.settle, Carrying(ACTOR, self.tell, wait_seconds=WAIT_SECONDS, chaos=self.chaos))
        self.runner = LocalRunner("controller", Guard("controller"))
        self.hosting: Hosting = product("repositories", default_product("repositories"))
        self.repositories = HostedRepositories(self.context.store.folder.repositories, self.hosting, self.runner, self.rules)
        self.ledger = Ledger(self.repositories.watched, self.runner, self.context.store)

    def tell(self, event: Event) -> None:
        """Write an event into the log, and let whoever listens hear it."""
        log_event(event)
        self.listener(event)

    def rules(self, _repository: str) -> RepositoryRules:
        """Return what may be pushed to a repository."""
        return RepositoryRules()

    async def reload(self) -> None:
        """Take the estate over as its file is now; one that is wrong is told once and leaves the former in force."""
        try:
            estate = await in_thread(lambda: load_estate(self.context.file))
        except InvalidEstate as error:
            if str(error) != self.complaint:
                log.warning("the estate is not taken over: %s", error)
            self.complaint = str(error)
            return
        self.complaint = ""
        if estate.digest != self.context.estate.digest:
            self.context = replace(self.context, estate=estate)
            await self.prepare()

    async def prepare(self) -> None:
        """Make the repositories that services name, and bring all to their rules."""
        named = {service.repository for environment in self.context.estate.environments.values() for service in environment.services.values()}
        for name in sorted(one for one in named if one):
            await self.repositories.create(name)
        await self.repositories.refresh_rules()

    def pipeline_ports(self) -> PipelinePorts:
        """Return the world of the pipelines."""
        wheels = HostPath(self.wheelhouse) if self.wheelhouse else None
        return PipelinePorts(self.context.store, self.runner, self.checkout, self.service_of, wheels)

    async def checkout(self, run: Run, folder: HostPath) -> None:
        """Leave the files of a run's commit in a new folder."""
        for act in self.hosting.checkout(self.repositories.source(run.repository), run.commit, folder):
            await self.runner.carry_out(act)

    def service_of(self, repository: str) -> str | None:
        """Return the service that a repository builds."""
        environments = self.context.estate.environments.values()
        return next((name for environment in environments for name, service in environment.services.items() if service.repository == repository), None)

    async def catch_up(self, repository: str, actor: str) -> None:
        """Compare a repository's refs with the ledger."""
        await self.ledger.catch_up(repository, actor)

    async def run_of(self, repository: str, ref: str, commit: str) -> str | None:
        """Return the id of a commit's run, or None if its branch is not delivered."""
        run = await self.context.store.read(runs.find_run, repository, ref, commit)
        return run.id if run else None

    def follow(self, run: str) -> AsyncGenerator[str, None]:
        """Yield a run's log to its pusher until it ends; one that waits long for its turn goes on alone."""
        return follow_run(self.context.store, run)

    def read_log(self, run: str) -> AsyncGenerator[str, None]:
        """Yield a run's log until it ends, however long it waits for its turn."""
        return follow_run(self.context.store, run, longest_wait_seconds=math.inf)

    def events(self, operation: str) -> AsyncGenerator[str, None]:
        """Yield an operation's events as JSON until it ends."""
        return follow_operation(self.context.store, operation)

    async def deliver_run(self, run: Run, artifact: Artifact) -> None:
        """Take what a run built through the environments; its progress is a step of the run. May be called again after a crash."""
        store = self.context.store
        await self.reload()
        step = await self._delivery_step(run)
        await store.write(runs.put_step, step)
        try:
            with (store.folder.runs / run.id / step.log).open("a", encoding="utf-8") as out:
                await self._deliver(
                    run, artifact, Carrying(run.actor or ACTOR, both(line_writer(out), self.listener), wait_seconds=WAIT_SECONDS, chaos=self.chaos), out
                )
        except ManorError:
            await store.write(runs.put_step, replace(step, state=RunState.FAILED, ended_at=store.clock.now()))
            raise
        await store.write(runs.put_step, replace(step, state=RunState.PASSED, ended_at=store.clock.now()))

    async def _delivery_step(self, run: Run) -> RunStep:
        """Return the attempt at a run's delivery that a killed controller left open, else a new one."""
        store = self.context.store
        known = [step for step in await store.read(runs.steps, run.id) if step.name == DELIVERY]
        if known and known[-1].state is RunState.RUNNING:
            return known[-1]
        key, began = f"{run.id}-{DELIVERY}-{len(known) + 1}", store.clock.now()
        return RunStep(run.id, DELIVERY, len(known) + 1, DELIVERY_PLACE, key, RunState.RUNNING, started_at=began, log=f"{DELIVERY}.log")

    async def _deliver(self, run: Run, artifact: Artifact, carrying: Carrying, out: TextIO) -> None:
        await self.settle(artifact.service, carrying)
        start = entrance(self.context, artifact.service)
        delivered = await deliver(self.context, Wish(SHIP, artifact.service, artifact.digest, start, actor=carrying.actor, run=run.id), carrying)
        out.write("".join(f"{line}\n" for line in summary_lines(delivered)))

    async def settle(self, service: str, carrying: Carrying) -> None:
        """Bring a service's operations whose executor died to their end before anything new is begun."""
        for operation in await find_orphans(self.context.store):
            if operation.service == service:
                await self._adoption(operation, carrying)

    async def adopt(self) -> None:
        """Go on with operations whose executor died, side by side; those of an open delivery are gone on with by that."""
        now = self.context.store.clock.now()
        for operation in await find_orphans(self.context.store):
            if self._resting.get(operation.id, now) <= now and await delivery_of(self.context, operation) is None:
                self._adoption(operation, Carrying(ACTOR, self.tell, chaos=self.chaos))

    def _adoption(self, operation: Operation, carrying: Carrying) -> asyncio.Task[None]:
        """Return the task that goes on with an operation: the one under way, else a new one."""
        self._adopting = {name: task for name, task in self._adopting.items() if not task.done()}
        if operation.id not in self._adopting:
            self._adopting[operation.id] = asyncio.create_task(self._adopt(operation, carrying), name=f"adopt {operation.id}")
        return self._adopting[operation.id]

    async def _adopt(self, operation: Operation, carrying: Carrying) -> None:
        """Go on with one operation. One that can't be gone on with is told, and tried again after a rest."""
        self._resting[operation.id] = self.context.store.clock.now() + REST_SECONDS
        try:
            await resume_operation(self.context, operation, carrying)
        except ManorError as error:
            log.warning("%s %s: %s", operation.verb, operation.lease, error)
        except Exception:
            log.exception("%s %s could not be gone on with", operation.verb, operation.lease)
        else:
            self._resting.pop(operation.id, None)

    async def hand_in(self, service: str, file: Path, origin: Origin, *, to: str, actor: str, again: str = "") -> Operation | Delivery:
        """Take an artifact in and deliver it in the background; return the operation of its first rollout, or the delivery that waits.

        Raises UsageError, Refused.
        """
        await self.reload()
        start = entrance(self.context, self.context.service(service), to)
        accept = await keep_file(self.context, service, file, origin)
        wish, store = Wish(SHIP, service, accept.digest, start, to, actor, again), self.context.store
        return await self.deliveries.accept(await store.write(accept_and_write_down, accept, wish, store.clock.now()))

    async def keep_house(self) -> None:
        """Revive what died, rotate what grew, write receipts that a crash kept from being written."""
        done = (*await revive(self.context), *await rotate_logs(self.context), *await rotate_own_logs(self.context, self.runner))
        for line in (*done, *await self._missing_receipts()):
            log.info("%s", line)

    async def keep_traffic(self) -> None:
        """Have what a person took out of traffic stay out."""
        for line in await keep_traffic(self.context):
            log.info("%s", line)

    async def clean(self) -> None:
        """Remove what nobody needs any more."""
        for line in await clean(self.context):
            log.info("%s", line)

    async def _missing_receipts(self) -> list[str]:
        """Return what could not be written and was not told before."""
        fresh = [line for line in await write_missing_receipts(self.context, SETTLED_SECONDS) if line not in self._told]
        self._told.update(fresh)
        return fresh


def line_writer(out: TextIO) -> Callable[[Event], None]:
    """Return what writes events as lines, at once."""

    def write(event: Event) -> None:
        if event.what is not What.INTENT:
            word = "" if event.what in {What.DONE, What.SAID} else f"{event.what}  "
            out.write(f"{word}{event.line()}\n")
            out.flush()

    return write


def both(one: Listener, other: Listener) -> Listener:
    """Return what tells two listeners."""

    def tell(event: Event) -> None:
        one(event)
        other(event)

    return tell


def log_event(event: Event) -> None:
    """Write an event into the controller's own log."""
    if event.what is not What.INTENT:
        log.info("%s %s", event.what, event.line())


def default_wheelhouse() -> Path | None:
    """Return the folder of wheels that MANOR_WHEELHOUSE names, if it is there."""
    named = os.environ.get("MANOR_WHEELHOUSE")
    return Path(named).resolve() if named and Path(named).is_dir() else None
