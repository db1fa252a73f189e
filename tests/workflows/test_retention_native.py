"""Retention beside real pipelines: what is gone is built anew, and gives the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from manor.errors import UsageError
from manor.pipeline.requests import rerun
from manor.state.store import Store
from manor.state.words import RunState
from manor.workflows import retaining_runs
from manor.workflows.retaining_runs import clean_runs
from manor.workflows.tidying import empty
from tests.pipeline.bench import Bench

pytestmark = pytest.mark.native

PIPELINE = """
    steps:
      build: {run: "echo x >> $MANOR_CACHE/did; echo made > out", outputs: out}
      protect: {run: "mkdir -p modules/a && touch modules/a/f && chmod -R a-w modules", needs: []}
      pack: {artifact: {include: out}, needs: [build]}
      fail: {run: "mkdir left && touch left/f && chmod -R a-w left; exit 3", needs: []}
"""


@pytest.fixture
def bench(tmp_path: Path, begin_state: Callable[[Path], Path]) -> Iterator[Bench]:
    with Store.open(begin_state(tmp_path / "state")) as store:
        yield Bench(store, tmp_path / "repository")


async def clean_at_once(bench: Bench, most: int) -> list[str]:
    """Make a pass to which everything but the newest runs is old."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retaining_runs, "KEPT_TO_REPEAT", most)
        patch.setattr(retaining_runs, "KEPT_TO_REPEAT_SECONDS", 0.0)
        said = await clean_runs(bench.store)
    return [*said, *await empty([bench.store.folder.runs])]


async def test_a_run_that_was_cleaned_is_read_and_its_commit_is_built_anew(bench: Bench) -> None:
    bench.pipeline(PIPELINE)
    first = await bench.go()
    assert await clean_at_once(bench, 1) == []
    assert (await rerun(bench.store, first.id, "ann", "pack")).state is RunState.WAITING
    first = await bench.go(first)
    assert len(await clean_at_once(bench, 0)) == 2, "the run's work folders, and what `build` left"
    assert [path.name for path in bench.store.folder.runs.iterdir() if path.name.startswith(".removed")] == []
    assert {path.name for path in (bench.store.folder.runs / first.id).rglob("*") if path.is_file()} == {"log"}
    assert bench.log(first, "build") == ""
    with pytest.raises(UsageError, match="push a new commit"):
        await rerun(bench.store, first.id, "ann", "pack")
    packed = bench.result(first, "pack").artifact
    second = await bench.go(await bench.add(ref="refs/heads/again"))
    assert second.summary == first.summary == "fail: ended with code 3"
    assert (bench.result(second, "build").reused, bench.result(second, "pack").artifact) == ("", packed)
    assert (bench.store.folder.runs / ".cache" / "warehouse" / "did").read_text() == "x\nx\n"
