"""Runs, outputs and artifacts of some age, as pipelines and hand-ins leave them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from manor.pipeline.results import Result
from manor.state import releases, runs
from manor.state.releases import Artifact
from manor.state.runs import RunStep
from manor.state.store import Store
from manor.state.words import RunState
from manor.workflows.tidying import DAY

PIPELINE = "steps: {build: {run: make, outputs: out}, pack: {artifact: {include: out}}}\n"
BRANCH = "refs/heads/main"


def digest(name: str) -> str:
    """Return a digest that is told by its name."""
    return hashlib.sha256(name.encode()).hexdigest()


@dataclass
class Keeping:
    """Makes what is there before a pass."""

    store: Store

    def at(self, days: float) -> float:
        """Return a moment so many days ago."""
        return self.store.clock.now() - days * DAY

    def file(self, path: Path, days: float, content: str = "x") -> Path:
        """Leave a file that was last written so many days ago."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        os.utime(path, (self.at(days), self.at(days)))
        return path

    def artifact(self, name: str, days: float, *, service: str = "shop", run: str = "", commit: str = "c" * 40) -> str:
        """Leave an artifact with its row and its report; return its digest."""
        key = digest(name)
        self.file(self.store.folder.artifacts / f"{key}.tar", days)
        self.file(self.store.folder.artifacts / f"{key}.junit.xml", days)
        self.store.write_now(releases.add_artifact, Artifact(key, service, 1, commit, "", run, "{}", self.at(days)))
        return key

    def release(self, artifact: str, service: str = "shop") -> str:
        """Write a release of an artifact; return its id."""
        return self.store.write_now(releases.add_release, service, artifact, f'{{"of": "{artifact}"}}', at=1.0).id

    def output(self, name: str, days: float) -> str:
        """Leave what a step left; return its digest."""
        self.file(self.store.folder.runs / ".outputs" / f"{digest(name)}.tar", days)
        return digest(name)

    def run(
        self,
        name: str,
        days: float,
        *,
        repository: str = "shop",
        ref: str = BRANCH,
        state: RunState = RunState.PASSED,
        artifact: str = "",
        outputs: str = "",
        log: str = "",
    ) -> str:
        """Leave a run that ended so many days ago, or goes on, with its files; return its id."""
        at = self.at(days)

        def write(connection: sa.Connection) -> str:
            made = runs.add_run(connection, repository, ref, digest(name)[:40], "ann", at).id
            for place, step, result in ((0, "build", Result(outputs=outputs)), (1, "pack", Result(artifact=artifact))):
                where = log if log and step == "build" else f"{step}/1/log"
                runs.put_step(connection, RunStep(made, step, 1, place, digest(name), RunState.PASSED, result=result.model_dump_json(), log=where))
            runs.set_run(connection, made, state, at=at, artifact=artifact)
            return made

        made = self.store.write_now(write)
        folder = self.store.folder.runs / made
        for part, content in ((".source/.manor/pipeline.yaml", PIPELINE), ("build/1/log", "said\n"), ("build/1/pid", "1"), ("build/1/workspace/f", "x")):
            self.file(folder / part, days, content)
        return made

    def files(self, run: str) -> set[str]:
        """Return which files of a run are there."""
        folder = self.store.folder.runs / run
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    def artifacts(self) -> set[str]:
        """Return the digests of the artifacts that are there."""
        return {path.stem for path in self.store.folder.artifacts.glob("*.tar")}
