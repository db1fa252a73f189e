"""Which runs are begun, in which order, and that a dead executor's runs are gone on with."""

from __future__ import annotations

import pytest

from manor.pipeline.worker import next_runs
from manor.state.runs import Run
from manor.state.words import RunState


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
