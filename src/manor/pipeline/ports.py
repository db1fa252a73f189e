"""What a pipeline is carried out with, and where a run's files lie."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from manor.execution.base import Runner
from manor.execution.values import HostPath
from manor.pipeline.keys import describe_machine
from manor.rollout.release import SYSTEM_PATH
from manor.state.releases import Artifact
from manor.state.runs import Run
from manor.state.store import Store

Checkout = Callable[[Run, HostPath], Awaitable[None]]
"""Leaves the files of a run's commit in a new folder, without history. Raises ManorError."""
Deliver = Callable[[Run, Artifact], Awaitable[None]]
"""Takes an artifact on its way. Is called again after a crash, so it must not mind. Raises ManorError."""


def slots_of_machine() -> asyncio.Semaphore:
    """Return as many slots as the machine has processors, at least two."""
    return asyncio.Semaphore(max(os.cpu_count() or 1, 2))


@dataclass(frozen=True)
class PipelinePorts:
    """The world as far as pipelines touch it."""

    store: Store
    runner: Runner
    """The controller's own."""
    checkout: Checkout
    service_of: Callable[[str], str | None]
    """The service whose `repository` has this name."""
    wheelhouse: HostPath | None = None
    """A folder of wheels from which steps install without a network."""
    path: str = SYSTEM_PATH
    """Where steps find programs: the same as services do, so that both have the same python3."""
    at_once: asyncio.Semaphore = field(default_factory=slots_of_machine)
    """How many steps go on at a time, over all runs."""

    def describe_machine(self) -> str:
        """Return what of this machine results may hang on."""
        return describe_machine(self.path, Path(self.wheelhouse) if self.wheelhouse else None)


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run below `<state>/runs`."""

    runs: Path
    run: str

    @property
    def path(self) -> Path:
        """The run's own folder."""
        return self.runs / self.run

    @property
    def source(self) -> Path:
        """The commit's files; no step has a name with a dot."""
        return self.path / ".source"

    def attempt(self, step: str, attempt: int) -> Path:
        """Where one attempt at a step keeps log, exit code and workspace."""
        return self.path / step / str(attempt)

    @property
    def outputs(self) -> Path:
        """What steps of all runs left, by digest."""
        return self.runs / ".outputs"

    def cache(self, repository: str) -> Path:
        """Return the folder of what steps of a repository keep from run to run."""
        return self.runs / ".cache" / repository

    def prepare(self, repository: str) -> None:
        """Make the folders."""
        for folder in (self.path, self.outputs, self.cache(repository)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def environment(run: Run, service: str, attempt: Path, cache: Path, ports: PipelinePorts) -> Mapping[str, str]:
    """Return the variables that every step sees; nothing of the controller's own, no secrets."""
    offline = {"MANOR_WHEELHOUSE": str(ports.wheelhouse), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(ports.wheelhouse)} if ports.wheelhouse else {}
    return {
        "HOME": str(attempt / "home"),
        "LANG": "C.UTF-8",
        "MANOR_CACHE": str(cache),
        "MANOR_COMMIT": run.commit,
        "MANOR_REF": run.ref,
        "MANOR_RUN": run.id,
        "MANOR_SERVICE": service,
        "PATH": ports.path,
        "SOURCE_DATE_EPOCH": "315532800",
        "TMPDIR": str(attempt / "home"),
        **offline,
    }
