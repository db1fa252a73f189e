"""Which runs are begun, in which order, and that a dead executor's runs are gone on with."""

from __future__ import annotations

import logging

import pytest

from manor.pipeline import worker as module
from manor.pipeline.ports import Deliver, PipelinePorts
from manor.pipeline.worker import Worker, next_runs
from manor.state import runs
from manor.state.leases import Lease
from manor.state.releases import Artifact
from manor.state.runs import Run
from manor.state.words import RunState
from tests.pipeline.bench import Bench


def a_run(identifier: str, ref: str = "main", state: RunState = RunState.WAITING, repository: str = "shop") -> Run:
    return Run(identifier, repository, ref, "c", "anna", state, "", "", None, float(identifier), None, None)


WAITING, RUNNING, CANCELLED = RunState.WAITING, RunState.RUNNING, RunState.CANCELLED
CASES = {
    "oldest of a ref":          ([a_run("2"), a_run("1")], [], 4, ["1"]),
    "one of each ref":          ([a_run("1"), a_run("2", "dev"), a_run("3", repository="crm")], [], 4, ["1", "2", "3"]),
    "begun ones first":         ([a_run("1"), a_run("2", state=RUNNING), a_run("3", "dev", CANCELLED)], [], 4, ["2", "3"]),
    "not where one goes on":    ([a_run("1"), a_run("2", "dev")], ["run:shop:main"], 4, ["2"]),
    "no more than are free":    ([a_run("1"), a_run("2", "dev")], [], 1, ["1"]),
    "none if none is free":     ([a_run("1")], [], 0, []),
}  # fmt: skip


@pytest.mark.parametrize(("waiting", "taken", "free", "chosen"), CASES.values(), ids=CASES)
def test_next_runs(waiting: list[Run], taken: list[str], free: int, chosen: list[str]) -> None:
    assert [run.id for run in next_runs(waiting, taken, free)] == chosen


async def test_a_run_that_breaks_off_unforeseen_stops_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It is told, rests, and is gone on with later; runs of other refs go on meanwhile."""
    bad, good, done = await bench.add("refs/heads/bad", "1" * 40), await bench.add("refs/heads/good", "2" * 40), []

    async def carry_out(run: Run, _lease: Lease, ports: PipelinePorts, _deliver: Deliver | None) -> Run:
        done.append(run.ref)
        if run.id == bad.id:
            raise RuntimeError("nobody thought of this")
        await ports.store.write(runs.set_run, run.id, RunState.PASSED, at=ports.store.clock.now())
        return run

    async def no_delivery(_run: Run, _artifact: Artifact) -> None:
        return None

    monkeypatch.setattr(module, "run_pipeline", carry_out)
    with caplog.at_level(logging.ERROR):
        await Worker(bench.ports, no_delivery).finish()
    assert sorted(done) == [bad.ref, good.ref]
    assert "a run of run:warehouse:refs/heads/bad broke off" in caplog.text
    assert "nobody thought of this" in caplog.text
    assert (await bench.store.read(runs.get, good.id)).state is RunState.PASSED
