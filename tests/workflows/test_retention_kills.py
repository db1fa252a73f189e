"""The controller is killed at every boundary of a pass: nothing that is needed is gone, all that is gone is in the audit, and the next pass ends it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from manor.state import audit, leases
from manor.state.store import Store
from manor.workflows import retaining_artifacts, retaining_runs
from manor.workflows.context import Context
from manor.workflows.retention import clean
from tests.rollout.running import Killed, Killer
from tests.workflows.keeping import Keeping

PARTS = ("artifacts", "runs")
MOMENTS = 45
"""A pass over a scene has at least so many."""


@pytest.fixture
def _mortal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of everything one is kept for its age alone."""
    monkeypatch.setattr(retaining_artifacts, "KEPT_ARTIFACTS", 1)
    monkeypatch.setattr(retaining_runs, "KEPT_TO_REPEAT", 1)
    monkeypatch.setattr(retaining_runs, "KEPT_TO_READ", 2)


def killing(killer: Killer, real: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same with a moment before and after it."""

    def act(*args: Any, **named: Any) -> Any:
        killer.pass_by()
        result = real(*args, **named)
        killer.pass_by()
        return result

    return act


async def one_life(context: Context, n: int) -> bool:
    """Make a pass that is killed at the n-th moment, and tell whether it came so far."""
    killer = Killer(n)
    with pytest.MonkeyPatch.context() as patch:
        for place, name in ((Store, "write_now"), (Path, "rename"), (Path, "unlink"), (Path, "rmdir")):
            patch.setattr(place, name, killing(killer, getattr(place, name)))
        with suppress(Killed):
            await clean(context)
    context.store.write_now(let_go)
    return killer.is_dead


def let_go(connection: sa.Connection) -> None:
    """Let go of what the dead held."""
    for lease in leases.standing(connection):
        leases.release(connection, lease.name, lease.token)


def everything(folder: Path) -> set[str]:
    """Return all files of both parts."""
    return {path.relative_to(folder).as_posix() for part in PARTS for path in (folder / part).rglob("*") if path.is_file()}


class Scene:
    """Something due of each kind, and beside it something that is needed."""

    def __init__(self, keeping: Keeping, n: int) -> None:
        """Leave it; `n` tells the scenes of one store apart."""
        self.n = n
        old, new = keeping.output(f"out-old-{n}", 100), keeping.output(f"out-new-{n}", 100)
        self.artifacts = [keeping.artifact(f"{n}-{age}", age) for age in (200, 190)]
        self.newest = keeping.artifact(f"{n}-new", 20)
        self.unread = keeping.run(f"{n}-400", 400, repository=f"r{n}", outputs=old)
        self.read = keeping.run(f"{n}-300", 300, repository=f"r{n}", outputs=old)
        self.repeated = keeping.run(f"{n}-250", 250, repository=f"r{n}", outputs=new, artifact=self.newest)
        self.old, self.new = old, new

    def needed(self) -> set[str]:
        """Return what must be there at every moment."""
        work = {f"runs/{self.repeated}/{name}" for name in (".source/.manor/pipeline.yaml", "build/1/log", "build/1/pid", "build/1/workspace/f")}
        kept = {f"artifacts/{self.newest}.tar", f"artifacts/{self.newest}.junit.xml", f"runs/.outputs/{self.new}.tar"}
        return {*work, *kept, f"runs/{self.read}/build/1/log"}

    def due(self) -> dict[str, str]:
        """Return what is to go, each with what the audit calls it."""
        ends = {f"artifacts/{key}.{end}": f"artifact/{key}" for key in self.artifacts for end in ("tar", "junit.xml")}
        runs = {f"runs/{run}/{name}": f"run/{run}" for run, name in ((self.unread, "build/1/log"), (self.read, ".source/.manor/pipeline.yaml"))}
        return {**ends, **runs, f"runs/.outputs/{self.old}.tar": f"output/{self.old}"}


@pytest.mark.usefixtures("_mortal")
@pytest.mark.parametrize("every", [23, pytest.param(5, marks=pytest.mark.thorough), pytest.param(1, marks=pytest.mark.crash)])
async def test_every_boundary(opened: Context, every: int) -> None:
    keeping, folder, n = Keeping(opened.store), opened.folder, 1
    while True:
        scene = Scene(keeping, n)
        was_killed = await one_life(opened, n)
        there = everything(folder)
        assert scene.needed() <= there, n
        for path, about in scene.due().items():
            assert path in there or opened.store.read_now(audit.lines, object=about), (n, path)
        await clean(opened)
        assert scene.needed() <= everything(folder), n
        assert everything(folder).isdisjoint(scene.due()), n
        assert not [path for part in PARTS for path in (folder / part).iterdir() if "removed" in path.name], n
        if not was_killed:
            break
        n += every
    assert n > MOMENTS
