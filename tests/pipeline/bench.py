"""Runs pipelines of a folder that stands for a commit."""

from __future__ import annotations

import shutil
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from manor.execution.base import Runner
from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.execution.values import HostPath
from manor.operations.leasing import hold
from manor.pipeline.engine import run_pipeline
from manor.pipeline.ports import Deliver, PipelinePorts
from manor.pipeline.results import Result, last_attempts, result_of
from manor.state import runs
from manor.state.executing import lease_name
from manor.state.runs import Run, RunStep
from manor.state.store import Store

COMMIT = "1" * 40


@dataclass
class Bench:
    """A store, and a repository whose commits are all the same folder."""

    store: Store
    repository: Path
    runner: Runner = field(default_factory=lambda: LocalRunner("controller", Guard("controller")))
    wheelhouse: HostPath | None = None

    def pipeline(self, text: str, **files: str) -> None:
        """Write the repository."""
        (self.repository / ".manor").mkdir(parents=True, exist_ok=True)
        (self.repository / ".manor" / "pipeline.yaml").write_text(textwrap.dedent(text))
        for name, content in files.items():
            (self.repository / name.replace("__", ".")).write_text(content)

    @property
    def ports(self) -> PipelinePorts:
        return PipelinePorts(self.store, self.runner, self.checkout, lambda repository: repository, self.wheelhouse)

    async def checkout(self, run: Run, folder: HostPath) -> None:
        shutil.copytree(self.repository, Path(folder), symlinks=True)

    async def add(self, ref: str = "refs/heads/main", commit: str = COMMIT) -> Run:
        return await self.store.write(runs.add_run, "warehouse", ref, commit, "test", self.store.clock.now())

    async def go(self, run: Run | None = None, deliver: Deliver | None = None) -> Run:
        """Carry a run out as a worker would."""
        run = run or await self.add()
        async with hold(self.store, lease_name(run.repository, run.ref), run.id) as lease:
            return await run_pipeline(await self.store.read(runs.get, run.id), lease, self.ports, deliver)

    def rows(self, run: Run) -> dict[str, RunStep]:
        return last_attempts(self.store.read_now(runs.steps, run.id))

    def states(self, run: Run) -> dict[str, str]:
        return {name: str(row.state) for name, row in self.rows(run).items()}

    def result(self, run: Run, step: str) -> Result:
        return result_of(self.rows(run)[step])

    def log(self, run: Run, step: str) -> str:
        return (self.store.folder.runs / run.id / self.rows(run)[step].log).read_text()
