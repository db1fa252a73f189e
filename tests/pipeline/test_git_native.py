"""From a commit in a hosted repository to its artifact, whatever the branch is called."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from manor.execution.values import HostPath
from manor.integrations.repositories.base import RepositoryRules, Source
from manor.operations.leasing import hold
from manor.pipeline.engine import run_pipeline
from manor.registry import product
from manor.state.executing import lease_name
from manor.state.runs import Run
from manor.state.words import RunState
from tests.pipeline.bench import Bench

pytestmark = pytest.mark.native

PIPELINE = """
    steps:
      build: {run: 'printf "%s" "$MANOR_REF" > ref; ls -a; cat page.html', outputs: ref}
      pack: {artifact: {include: [page.html, ref, bin]}}
"""


def git(folder: Path, *words: str) -> str:
    settings = ("-c", "user.name=anna", "-c", "user.email=anna@acme.example")
    environment = {"PATH": "/usr/bin:/bin", "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(folder)}
    return subprocess.run(["git", *settings, *words], cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("branch", ["main", "$(reboot)", "a;b", "feature/ü-`id`"])
async def test_from_a_commit_to_an_artifact(bench: Bench, branch: str) -> None:
    hosted = product("repositories", "hosted")
    source = Source("warehouse", HostPath(bench.store.folder.repositories / "warehouse.git"))
    for act in hosted.create(source, RepositoryRules()):
        await bench.runner.carry_out(act)
    bench.pipeline(PIPELINE, page__html="hello")
    (bench.repository / "bin").mkdir()
    (bench.repository / "bin" / "start").touch(0o755)
    git(bench.repository, "init", "-q")
    git(bench.repository, "add", ".")
    git(bench.repository, "commit", "-qm", "first")
    commit = git(bench.repository, "rev-parse", "HEAD")
    git(Path(source.place), "fetch", "-q", str(bench.repository), commit)

    async def checkout(run: Run, folder: HostPath) -> None:
        for act in hosted.checkout(source, run.commit, folder):
            await bench.runner.carry_out(act)

    run = await bench.add(f"refs/heads/{branch}", commit)
    async with hold(bench.store, lease_name(run.repository, run.ref), run.id) as lease:
        run = await run_pipeline(run, lease, replace(bench.ports, checkout=checkout))
    assert run.state is RunState.PASSED, run.summary
    assert bench.log(run, "build") == ".\n..\n.manor\nbin\npage.html\nref\nhello"
