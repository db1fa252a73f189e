"""What the controller does with pushes, runs and hand-ins: the workflows behind the API and the workers (docs/controller.md)."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from manor.errors import InvalidEstate, ManorError
from manor.estate.load import load_estate
from manor.execution.durable import Disk
from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.execution.values import HostPath
from manor.integrations.repositories.base import Hosting, RepositoryRules
from manor.operations.adoption import find_orphans
from manor.operations.events import Event, What
from manor.pipeline.ports import PipelinePorts
from manor.registry import default_product, product
from manor.state import runs
from manor.state.releases import Artifact
from manor.state.runs import Run, RunStep
from manor.state.words import RunState
from manor.workflows.context import Context
from manor.workflows.delivery import deliver, summary_lines
from manor.workflows.follow import follow_run
from manor.workflows.housekeeping import revive, rotate_logs
from manor.workflows.ledger import Ledger
from manor.workflows.repositories import HostedRepositories
from manor.workflows.resuming import resume_operation
from manor.workflows.rolling import Carrying

log = logging.getLogger(__name__)
DELIVERY = "deliver"
DELIVERY_PLACE = 1_000_000
WAIT_SECONDS = 900.0
ACTOR = "controller"


@dataclass
class Controller:
    """The workflows of one state folder, for a long-running process."""

    context: Context
    wheelhouse: Path | None = None
    disk: Disk = field(default_factory=Disk)

    def __post_init__(self) -> None:
        """Find the repositories and the ledger."""
        self.runner = LocalRunner("controller", Guard("controller"))
        self.hosting: Hosting = product("repositories", default_product("repositories"))
        self.repositories = HostedRepositories(self.context.store.folder.repositories, self.hosting, self.runner, self.rules)
        self.ledger = Ledger(self.repositories.watched, self.runner, self.context.store)

    def rules(self, _repository: str) -> RepositoryRules:
        """Return what may be pushed to a repository."""
        return RepositoryRules()

    def fresh(self) -> Context:
        """Return the context with the estate as its file is now; a file that is wrong leaves the former one in force and is told."""
        try:
            self.context = replace(self.context, estate=load_estate(self.context.file))
        except InvalidEstate as error:
            log.warning("the estate is not taken over: %s", error)
        return self.context

    async def prepare(self) -> None:
        """Make the repositories that services name, and bring all to their rules."""
        named = {service.repository for environment in self.fresh().estate.environments.values() for service in environment.services.values()}
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
        environments = self.fresh().estate.environments.values()
        return next((name for environment in environments for name, service in environment.services.items() if service.repository == repository), None)

    async def catch_up(self, repository: str, actor: str) -> None:
        """Compare a repository's refs with the ledger."""
        await self.ledger.catch_up(repository, actor)

    async def run_of(self, repository: str, ref: str, commit: str) -> str | None:
        """Return the id of a commit's run, or None if its branch is not delivered."""
        run = await self.context.store.read(runs.find_run, repository, ref, commit)
        return run.id if run else None

    def follow(self, run: str) -> AsyncGenerator[str, None]:
        """Yield a run's log until it ends."""
        return follow_run(self.context.store, run)

    async def deliver_run(self, run: Run, artifact: Artifact) -> None:
        """Take what a run built through the environments; its progress is a step of the run. May be called again after a crash."""
        context, store = self.fresh(), self.context.store
        file = store.folder.runs / run.id / f"{DELIVERY}.log"
        began = store.clock.now()
        attempt = 1 + sum(step.name == DELIVERY for step in await store.read(runs.steps, run.id))
        step = RunStep(run.id, DELIVERY, attempt, DELIVERY_PLACE, f"{run.id}-{DELIVERY}-{attempt}", RunState.RUNNING, started_at=began, log=file.name)
        await store.write(runs.put_step, step)
        try:
            with file.open("a", encoding="utf-8") as out:
                await self._deliver(context, artifact, Carrying(run.actor or ACTOR, line_writer(out), wait_seconds=WAIT_SECONDS), out)
        except ManorError:
            await store.write(runs.put_step, replace(step, state=RunState.FAILED, ended_at=store.clock.now()))
            raise
        await store.write(runs.put_step, replace(step, state=RunState.PASSED, ended_at=store.clock.now()))

    async def _deliver(self, context: Context, artifact: Artifact, carrying: Carrying, out: TextIO) -> None:
        await self.adopt(service=artifact.service)
        delivered = await deliver(context, artifact.service, artifact.digest, carrying)
        out.write("".join(f"{line}\n" for line in summary_lines(delivered)))

    async def adopt(self, *, service: str = "") -> None:
        """Go on with operations whose executor died. One that fails is told and left for a person."""
        for operation in await find_orphans(self.context.store):
            if service in ("", operation.service):
                try:
                    await resume_operation(self.context, operation, Carrying(ACTOR, log_event))
                except ManorError as error:
                    log.warning("%s %s: %s", operation.verb, operation.lease, error)

    async def keep_house(self) -> None:
        """Revive what died, rotate what grew."""
        for line in (*await revive(self.context), *await rotate_logs(self.context)):
            log.info("%s", line)


def line_writer(out: TextIO) -> Callable[[Event], None]:
    """Return what writes events as lines, at once."""

    def write(event: Event) -> None:
        if event.what is not What.INTENT:
            word = "" if event.what in {What.DONE, What.SAID} else f"{event.what}  "
            out.write(f"{word}{event.line()}\n")
            out.flush()

    return write


def log_event(event: Event) -> None:
    """Write an event into the controller's own log."""
    if event.what is not What.INTENT:
        log.info("%s %s", event.what, event.line())


def default_wheelhouse() -> Path | None:
    """Return the folder of wheels that MANOR_WHEELHOUSE names, if it is there."""
    named = os.environ.get("MANOR_WHEELHOUSE")
    return Path(named).resolve() if named and Path(named).is_dir() else None
