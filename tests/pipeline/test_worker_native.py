"""Workers beside each other, and what one says of a run that cannot go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from manor.errors import ManorError
from manor.pipeline.requests import cancel_run
from manor.pipeline.worker import Worker
from manor.state import runs
from manor.state.backup import backup, restore
from manor.state.releases import Artifact
from manor.state.runs import Run
from manor.state.store import Store
from manor.state.words import RunState
from tests.pipeline.bench import Bench

pytestmark = pytest.mark.native


async def no_delivery(_run: Run, _artifact: Artifact) -> None:
    return None


async def test_runs_of_one_ref_go_one_after_the_other_and_refs_side_by_side(bench: Bench) -> None:
    bench.pipeline("steps: {a: {run: 'echo begin $MANOR_REF >> $MANOR_CACHE/said; sleep 0.3; echo end $MANOR_REF >> $MANOR_CACHE/said'}}")
    for ref, commit in (("main", "1"), ("main", "2"), ("dev", "3")):
        await bench.add(f"refs/heads/{ref}", commit * 40)
    await Worker(bench.ports, no_delivery).finish()
    assert {run.state for run in bench.store.read_now(runs.recent)} == {RunState.PASSED}
    said = (bench.store.folder.runs / ".cache" / "warehouse" / "said").read_text().splitlines()
    main = [line for line in said if line.endswith("main")]
    assert [line.split()[0] for line in main] == ["begin", "end", "begin", "end"]
    assert said.index("begin refs/heads/dev") < said.index("end refs/heads/main")


async def test_two_workers_do_nothing_twice(bench: Bench) -> None:
    bench.pipeline("steps: {a: {run: 'echo x >> $MANOR_CACHE/said; sleep 0.2'}}")
    await bench.add()
    await asyncio.gather(*(Worker(bench.ports, no_delivery).finish() for _ in range(2)))
    assert (bench.store.folder.runs / ".cache" / "warehouse" / "said").read_text() == "x\n"


async def test_a_worker_that_is_stopped_leaves_its_programs_to_the_next(bench: Bench) -> None:
    bench.pipeline("steps: {a: {run: 'echo x >> $MANOR_CACHE/said; sleep 0.5; echo done >> $MANOR_CACHE/said'}}")
    run = await bench.add()
    said = bench.store.folder.runs / ".cache" / "warehouse" / "said"
    working = asyncio.create_task(Worker(bench.ports, no_delivery).work())
    async with asyncio.timeout(20):
        while not said.exists():  # noqa: ASYNC110 -- another process makes it
            await asyncio.sleep(0.02)
    working.cancel()
    await asyncio.wait([working])
    assert bench.store.read_now(runs.get, run.id).state is RunState.RUNNING
    await Worker(bench.ports, no_delivery).finish()
    assert bench.store.read_now(runs.get, run.id).state is RunState.PASSED
    assert said.read_text() == "x\ndone\n"


async def test_a_checkout_that_fails_fails_the_run_with_its_words(bench: Bench) -> None:
    troubles: list[ManorError] = []
    run = await bench.add()
    await Worker(bench.ports, no_delivery, on_trouble=lambda _run, error: troubles.append(error)).finish()
    ended = bench.store.read_now(runs.get, run.id)
    assert (ended.state, troubles) == (RunState.FAILED, [])
    assert "No such file" in ended.summary


async def test_a_restored_controller_does_the_step_again_that_ran_during_the_backup(bench: Bench, tmp_path: Path) -> None:
    bench.pipeline("""
        steps:
          build: {run: "echo x > out", outputs: out}
          test: {run: "[ ! -e $MANOR_CACHE/slow ] || sleep 30; cat out"}
          pack: {artifact: {include: out}}
    """)
    slow = bench.store.folder.runs / ".cache" / "warehouse" / "slow"
    slow.parent.mkdir(parents=True)
    slow.touch()
    run = await bench.add()
    working = asyncio.create_task(Worker(bench.ports, no_delivery).work())
    async with asyncio.timeout(20):
        while not (bench.store.folder.runs / run.id / "test" / "1" / "pid").exists():  # noqa: ASYNC110 -- another process makes it
            await asyncio.sleep(0.02)
    working.cancel()
    await asyncio.wait([working])
    backup(bench.store, tmp_path / "b.tar")
    restore(tmp_path / "b.tar", tmp_path / "other")
    with Store.open(tmp_path / "other") as store:
        other = Bench(store, bench.repository)
        await Worker(other.ports, no_delivery).finish()
        ended = store.read_now(runs.get, run.id)
        assert (ended.state, {name: row.attempt for name, row in other.rows(run).items()}) == (RunState.PASSED, {"build": 1, "test": 1, "pack": 1})
        assert other.log(run, "test") == "x\n"
    await cancel_run(bench.store, run.id, "ann")
    await bench.go(run)
