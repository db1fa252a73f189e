"""The engine against a model: every boundary, time-outs that survive restarts, lost programs, deliveries."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from manor.errors import ApplyFailed, FencedOff
from manor.execution.guard import Untouchable
from manor.execution.values import HostPath
from manor.pipeline.definition import KINDS
from manor.pipeline.engine import run_pipeline
from manor.pipeline.requests import cancel_run
from manor.pipeline.results import result_of
from manor.state import leases, runs
from manor.state.executing import lease_name
from manor.state.holder import this_process
from manor.state.leases import Lease
from manor.state.releases import Artifact
from manor.state.runs import Run
from manor.state.store import Store
from manor.state.words import RunState
from tests.pipeline.bench import Bench
from tests.pipeline.model import FreeClock, Killed, Life, ModelRunner, MortalStore, Program, World

PIPELINE = """
    steps:
      build: {run: make, outputs: out}
      test: {test: make test, junit: r.xml}
      beside: {run: make lint, needs: []}
      pack: {artifact: {include: out}, needs: [test, build, beside]}
"""


@dataclass
class Model:
    """Controllers that come and go over one state folder and one world."""

    folder: Path
    repository: Path
    world: World
    delivered: list[str] = field(default_factory=list)

    def live(self, fatal: int = 0) -> Mortal:
        """Return a new controller."""
        return Mortal(self, Life(fatal))


class Mortal:
    """One controller."""

    def __init__(self, model: Model, life: Life) -> None:
        self.model = model
        self.life = life

    def __enter__(self) -> Mortal:
        self.store = MortalStore.open(self.model.folder, self.model.world.clock)
        self.store.life = self.life
        self.bench = Bench(self.store, self.model.repository, ModelRunner(self.model.world, self.life))
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    async def deliver(self, run: Run, artifact: Artifact) -> None:
        self.life.cross()
        self.model.delivered.append(f"{run.id} {artifact.digest}")

    async def go(self, run: str) -> Run:
        found = self.store.read_now(runs.get, run)
        return await run_pipeline(found, self.lease(run), self.bench.ports, self.deliver)

    def lease(self, run: str) -> Lease:
        """Take the lease from whoever had it; nobody renews it, so that no time passes by that."""
        now = self.store.clock.now()
        name = lease_name("shop", "refs/heads/main")
        return self.store.write_now(leases.acquire, name, run, holder=this_process(), now=now, is_gone=lambda *_: True)


@pytest.fixture
def model(tmp_path: Path, state_folder: Path) -> Model:
    world = World(FreeClock(), {"build": Program(3.0, leaves=("out",)), "test": Program(2.0, leaves=("r.xml",))})
    return Model(state_folder, tmp_path / "repository", world)


def add(model: Model, text: str = PIPELINE, ref: str = "refs/heads/main") -> str:
    with Store.open(model.folder, model.world.clock) as store:
        Bench(store, model.repository).pipeline(text)
        return store.write_now(runs.add_run, "shop", ref, "1" * 40, "test", model.world.clock.now()).id


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.thorough)])
async def test_every_boundary(model: Model, every: int) -> None:
    for fatal in range(1, 60, every):
        model.world.begun.clear()
        model.world.ended.clear()
        run = await a_killed_run(model, fatal)
        if run is None:
            break
        with model.live() as next_one:
            ended = await next_one.go(run)
            assert (ended.state, ended.summary) == (RunState.PASSED, f"built {ended.artifact[:12]}"), fatal
            rows = next_one.store.read_now(runs.steps, run)
            assert {row.name: row.attempt for row in rows} == {"build": 1, "test": 1, "beside": 1, "pack": 1}, fatal
        assert sorted(model.world.begun) == [f"{run}/{name}/1" for name in ("beside", "build", "pack", "test")]
        assert f"{run} {ended.artifact}" in model.delivered
    assert 30 < fatal < 59


async def a_killed_run(model: Model, fatal: int) -> str | None:
    """Begin a run of its own commit, to be killed; None if it ended before the boundary came."""
    with Store.open(model.folder, model.world.clock) as store:
        Bench(store, model.repository).pipeline(PIPELINE)
        run = store.write_now(runs.add_run, "shop", "refs/heads/main", f"{fatal:040x}", "test", model.world.clock.now()).id
    with model.live(fatal) as mortal:
        try:
            await mortal.go(run)
        except (Killed, BaseExceptionGroup):
            return run
    return None


async def test_a_time_out_survives_a_restart(model: Model) -> None:
    run = add(model, "steps: {hang: {run: sleep, timeout: 10s}}")
    model.world.programs["hang"] = Program(1000.0)
    with model.live(8) as mortal, pytest.raises((Killed, BaseExceptionGroup)):  # right after the start
        await mortal.go(run)
    assert model.world.begun
    model.world.clock.time += 3600
    with model.live() as next_one:
        ended = await next_one.go(run)
    assert ended.state is RunState.TIMED_OUT
    assert "was not done after 10 s" in ended.summary


async def test_a_step_that_could_not_begin_before_its_deadline_is_not_begun_after_it(model: Model) -> None:
    run = add(model, "steps: {hang: {run: sleep, timeout: 10s}}")
    with model.live(7) as mortal, pytest.raises((Killed, BaseExceptionGroup)):  # its row is written, its program is not started
        await mortal.go(run)
    model.world.clock.time += 11
    with model.live() as next_one:
        ended = await next_one.go(run)
        assert next_one.bench.states(ended) == {"hang": "timed_out"}
    assert model.world.begun == {}


async def test_a_run_has_a_time_out_of_its_own(model: Model) -> None:
    run = add(model, "{timeout: 100s, steps: {one: {run: a}, two: {run: b}}}")
    model.world.programs |= {"one": Program(60.0), "two": Program(60.0)}
    with model.live() as mortal:
        ended = await mortal.go(run)
        assert mortal.bench.states(ended) == {"one": "passed", "two": "timed_out"}


async def test_what_passed_before_is_not_done_again_and_does_not_wait_for_its_turn(model: Model) -> None:
    first, again = add(model), add(model, ref="refs/heads/again")
    with model.live() as mortal:
        assert (await mortal.go(first)).state is RunState.PASSED
        begun = dict(model.world.begun)
        nobody_ends = replace(mortal.bench.ports, at_once=asyncio.Semaphore(0))
        async with asyncio.timeout(20):
            ended = await run_pipeline(mortal.store.read_now(runs.get, again), mortal.lease(again), nobody_ends, mortal.deliver)
        rows = mortal.store.read_now(runs.steps, again)
    assert (ended.state, model.world.begun) == (RunState.PASSED, begun)
    assert [(row.attempt, row.deadline, result_of(row).reused) for row in rows] == [(1, None, first)] * 4


async def test_what_passed_but_left_nothing_is_done_again(model: Model) -> None:
    first, again = add(model), add(model, ref="refs/heads/again")
    with model.live() as mortal:
        await mortal.go(first)
        for archive in (mortal.store.folder.runs / ".outputs").iterdir():
            archive.unlink()
        assert (await mortal.go(again)).state is RunState.PASSED
        reused = {row.name: bool(result_of(row).reused) for row in mortal.store.read_now(runs.steps, again)}
    assert (reused["beside"], reused["build"]) == (True, False)
    assert f"{again}/build/1" in model.world.begun


async def test_a_program_that_is_lost_is_done_again_at_most_twice(model: Model) -> None:
    run = add(model, "steps: {die: {run: a}}")
    model.world.programs["die"] = Program(dies=True)
    with model.live() as mortal:
        ended = await mortal.go(run)
        again = await mortal.go(run)
    assert (ended.state, again.state) == (RunState.FAILED, RunState.FAILED)
    assert sorted(model.world.begun) == [f"{run}/die/{number}" for number in (1, 2, 3)]


async def test_a_failed_delivery_fails_the_run_and_says_why(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    run = add(model)

    async def refuse(_mortal: Mortal, _run: Run, _artifact: Artifact) -> None:
        raise ApplyFailed("dev/web-1: no room")

    monkeypatch.setattr(Mortal, "deliver", refuse)
    with model.live() as mortal:
        ended = await mortal.go(run)
    assert ended.state is RunState.FAILED
    assert ended.artifact
    assert ended.summary == f"built {ended.artifact[:12]}, but it was not delivered: dev/web-1: no room"


async def test_what_was_cancelled_while_nobody_executed_it_is_ended_by_the_next(model: Model) -> None:
    run = add(model, "steps: {hang: {run: sleep}}")
    model.world.programs["hang"] = Program(500.0)
    with model.live(8) as mortal, pytest.raises((Killed, BaseExceptionGroup)):
        await mortal.go(run)
    with model.live() as next_one:
        await cancel_run(next_one.store, run, "anna")
        assert [found.id for found in next_one.store.read_now(runs.open_runs)] == [run]
        ended = await next_one.go(run)
        assert (ended.state, next_one.bench.states(ended)) == (RunState.CANCELLED, {"hang": "cancelled"})
        assert next_one.store.read_now(runs.open_runs) == ()
    assert model.world.ended[f"{run}/hang/1"].code == 143


async def test_an_executor_that_was_succeeded_writes_nothing_more(model: Model) -> None:
    run = add(model)
    with model.live() as one:
        old, _new = one.lease(run), one.lease(run)
        with pytest.raises(FencedOff):
            await run_pipeline(one.store.read_now(runs.get, run), old, one.bench.ports)
        assert one.store.read_now(runs.get, run).state is RunState.WAITING


STEPS = {"run": "{run: make}", "test": "{test: make test, junit: r.xml}", "artifact": "{artifact: {include: out}}"}


@pytest.mark.parametrize("kind", KINDS)
async def test_no_kind_of_step_runs_where_it_is_not_ours(model: Model, kind: str) -> None:
    run = add(model, f"steps: {{alone: {STEPS[kind]}}}")
    with model.live() as controller:
        runner = controller.bench.runner
        runner.guard = replace(runner.guard, untouchable=Untouchable(paths=(HostPath(model.folder),)))
        ended = await controller.go(run)
        rows = controller.store.read_now(runs.steps, run)
    assert ended.state is RunState.FAILED
    assert f"untouchable.paths: {model.folder} is not Manor's to touch" in ended.summary
    assert model.world.begun == {}
    assert [row.state for row in rows] == [RunState.FAILED], "what was not begun does not run"


@pytest.mark.parametrize("is_kept", [True, False])
async def test_what_was_done_before_is_done_again_only_if_what_it_left_is_gone(model: Model, is_kept: bool) -> None:
    first = add(model, "steps: {build: {run: make, outputs: out}}")
    with model.live() as controller:
        await controller.go(first)
        (left,) = (controller.store.folder.runs / ".outputs").iterdir()
        if not is_kept:
            left.unlink()
        second = controller.store.write_now(runs.add_run, "shop", "refs/heads/dev", "1" * 40, "test", model.world.clock.now()).id
        ended = await controller.go(second)
        assert ended.state is RunState.PASSED
        assert controller.bench.result(ended, "build").reused == (first if is_kept else "")
        assert left.exists()
    assert (f"{second}/build/1" in model.world.begun) is not is_kept
