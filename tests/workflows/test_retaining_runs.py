"""Files of old runs go, and never those of a run that can be done again, goes on, or whose log somebody refers to."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from manor.errors import UsageError
from manor.pipeline.requests import rerun
from manor.state import audit, leases, runs
from manor.state.executing import lease_name
from manor.state.holder import process_start, this_process
from manor.state.words import RunState
from manor.workflows import retaining_runs, tidying
from manor.workflows.context import Context
from manor.workflows.follow import follow_run
from manor.workflows.retaining_runs import KEPT_TO_REPEAT, newest
from manor.workflows.retention import clean
from manor.workflows.showing_runs import removed_of
from manor.workflows.tidying import DAY
from tests.workflows.keeping import BRANCH, Keeping

ALL = {".source/.manor/pipeline.yaml", "build/1/log", "build/1/pid", "build/1/workspace/f"}
LOGS = {"build/1/log"}


@pytest.fixture
def keeping(opened: Context) -> Keeping:
    return Keeping(opened.store)


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs of a repository can be done again whatever their age, and four can be read."""
    monkeypatch.setattr(retaining_runs, "KEPT_TO_REPEAT", 2)
    monkeypatch.setattr(retaining_runs, "KEPT_TO_READ", 4)


def test_the_newest_of_each_repository_and_the_young_stay(keeping: Keeping) -> None:
    mine = [keeping.run(f"r{days}", days) for days in (1, 2, 30, 40)]
    other = keeping.run("other", 50, repository="pim")
    waiting = keeping.run("waits", 60, state=RunState.WAITING)
    found = keeping.store.read_now(runs.of_ids, [*mine, other, waiting])
    assert [run.id for run in found] == [*mine, other, waiting]
    assert newest(found, 1, keeping.at(10)) == {mine[0], mine[1], other, waiting}


async def test_work_folders_go_first_and_logs_stay_to_be_read(opened: Context, keeping: Keeping) -> None:
    made = [keeping.run(f"r{number}", 20 + number) for number in range(KEPT_TO_REPEAT + 2)]
    young = keeping.run("young", 13)
    said = await clean(opened)
    gone = [made[-1], made[-2], made[-3]]  # the young one is among the newest too
    assert said == [f"removed the work folders of run {run} of shop" for run in gone]
    assert [keeping.files(run) for run in gone] == [LOGS, LOGS, LOGS]
    assert [keeping.files(run) for run in (young, *made[:-3])] == [ALL] * KEPT_TO_REPEAT
    assert [(line.actor, line.before, line.after) for line in opened.store.read_now(audit.lines, object=f"run/{made[-1]}")] == [
        ("controller", f"work folders of run {made[-1]} of shop", "removed")
    ]
    assert opened.store.read_now(leases.standing) == ()
    assert not (opened.store.folder.runs / ".removed").exists()
    assert await clean(opened) == []


@pytest.mark.usefixtures("_few")
async def test_logs_go_later_but_for_those_of_kept_artifacts_and_those_that_are_referred_to(opened: Context, keeping: Keeping) -> None:
    did = keeping.run("did", 400)
    built = keeping.run("built", 300)
    shipped = keeping.run("shipped", 290, artifact=keeping.artifact("young", 1, run=built))
    old, other = keeping.run("old", 200), keeping.run("other", 200, repository="pim")
    recent = [keeping.run(f"r{days}", days, log=f"../{did}/build/1/log" if days == 20 else "") for days in (80, 20, 19, 18)]
    await clean(opened)
    assert {run: keeping.files(run) for run in (did, built, shipped, old, *recent, other)} == {
        did: LOGS,
        built: LOGS,
        shipped: LOGS,
        old: set(),
        recent[0]: LOGS,
        recent[1]: LOGS,
        recent[2]: ALL,
        recent[3]: ALL,
        other: ALL,
    }
    assert opened.store.read_now(runs.get, old).state is RunState.PASSED, "rows stay"
    assert len(opened.store.read_now(runs.steps, old)) == 2
    assert not (opened.store.folder.runs / old).exists()
    assert await clean(opened) == []


@pytest.mark.usefixtures("_few")
async def test_what_goes_on_or_whose_branch_is_held_is_left_alone(opened: Context, keeping: Keeping) -> None:
    waiting = keeping.run("waits", 300, ref="refs/heads/dev", state=RunState.WAITING)
    old = keeping.run("old", 300)
    for days in (3, 2, 1):
        keeping.run(f"r{days}", days)
    parent = replace(this_process(), pid=os.getppid(), process_started=process_start(os.getppid()) or 0)
    held = opened.store.write_now(leases.acquire, lease_name("shop", BRANCH), "o", holder=parent, now=opened.store.clock.now())
    assert await clean(opened) == []
    opened.store.write_now(leases.release, held.name, held.token)
    assert await clean(opened) == [f"removed the work folders of run {old} of shop"]
    assert (keeping.files(waiting), keeping.files(old)) == (ALL, LOGS)


@pytest.mark.usefixtures("_few")
async def test_outputs_stay_while_a_run_that_needs_them_can_be_done_again(opened: Context, keeping: Keeping) -> None:
    needed, old, young = keeping.output("needed", 100), keeping.output("old", 100), keeping.output("young", 1)
    keeping.run("kept", 300, outputs=needed)
    keeping.run("gone", 310, outputs=old)
    keeping.run("newer", 200)
    (outputs := opened.store.folder.runs / ".outputs").joinpath(".incoming.manor-1-1").touch()
    assert f"removed the outputs {old[:12]} of a step" in await clean(opened)
    assert {path.name for path in outputs.iterdir()} == {f"{needed}.tar", f"{young}.tar", ".incoming.manor-1-1"}
    assert await clean(opened) == []


async def test_a_run_without_its_files_is_not_done_again_and_says_what_to_do(opened: Context, keeping: Keeping) -> None:
    run = keeping.run("old", 20)
    for number in range(KEPT_TO_REPEAT):
        keeping.run(f"r{number}", number)
    await clean(opened)
    with pytest.raises(UsageError, match=f"run {run} can't be done again: its files are gone, see `manor run {run}`; push a new commit, e.g. by `git commit"):
        await rerun(opened.store, run, "ann", "build")
    day = opened.store.read_now(audit.lines, object=f"run/{run}")
    assert len(day) == 1
    (told,) = await removed_of(opened, run)
    assert told.startswith(f"the work folders of run {run} of shop were removed on 20")
    assert f"· retention: {told}" in [line async for line in follow_run(opened.store, run)]


async def test_what_a_step_left_and_is_gone_is_not_gone_on_from(opened: Context, keeping: Keeping) -> None:
    run = keeping.run("lacks", 1, outputs=keeping.output("lost", 1), artifact=keeping.artifact("built", 1))
    assert (await rerun(opened.store, run, "ann", "pack")).state is RunState.WAITING
    opened.store.write_now(runs.set_run, run, RunState.FAILED, at=opened.store.clock.now())
    next((opened.store.folder.runs / ".outputs").iterdir()).unlink()
    with pytest.raises(UsageError, match=f"from what build left: that is gone; do it again from there: `manor run again {run} --from build`"):
        await rerun(opened.store, run, "ann", "pack")
    assert opened.store.read_now(runs.get, run).state is RunState.FAILED
    assert (await rerun(opened.store, run, "ann", "build")).state is RunState.WAITING


async def test_what_comes_to_be_needed_after_it_was_noted_stays(opened: Context, keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    old = keeping.run("old", 20)
    for number in range(KEPT_TO_REPEAT):
        keeping.run(f"r{number}", number)
    write = type(opened.store).write
    seen: list[str] = []

    async def wished_for(store: object, do: object, *args: object, **named: object) -> object:
        seen.append(name := getattr(do, "__name__", ""))
        if name == "move":
            opened.store.write_now(runs.reopen, old)
        return await write(store, do, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(type(opened.store), "write", wished_for)
    assert await clean(opened) == [f"the work folders of run {old} of shop stay: it is needed again"]
    assert "move" in seen
    assert keeping.files(old) == ALL
    assert [line.after for line in opened.store.read_now(audit.lines, object=f"run/{old}")] == ["removed", "stays: it is needed again"]
    assert await removed_of(opened, old) == ()


def refuse(patch: pytest.MonkeyPatch, act: str, *stuck: str) -> None:
    """Let an act on a path fail whose parts name one of these, as in a folder that belongs to root."""
    real = getattr(Path, act)

    def refused(path: Path, *args: object) -> object:
        if not set(stuck).isdisjoint(path.parts):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args)

    patch.setattr(Path, act, refused)


def pass_time(patch: pytest.MonkeyPatch, context: Context, days: float) -> None:
    """Let the store's clock go on."""
    now = context.store.clock.now() + days * DAY
    patch.setattr(type(context.store.clock), "now", lambda _clock: now)


def told(context: Context, run: str) -> list[str]:
    """Return what the audit says of a run."""
    return [line.after for line in context.store.read_now(audit.lines, object=f"run/{run}")]


async def test_what_cannot_be_moved_is_told_once_and_tried_again_more_and_more_seldom(
    opened: Context, keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = keeping.run("stuck", 30), keeping.run("other", 20)
    for number in range(KEPT_TO_REPEAT):
        keeping.run(f"r{number}", number)
    source = opened.store.folder.runs / stuck / ".source"
    stays = f"the work folders of run {stuck} of shop stay: {source}: Permission denied"
    tried = []
    with pytest.MonkeyPatch.context() as patch:
        refuse(patch, "rename", stuck)
        pass_time(patch, opened, 0.0)
        assert set(await clean(opened)) == {stays, f"removed the work folders of run {other} of shop"}
        assert keeping.files(stuck) == ALL
        assert await removed_of(opened, stuck) == ()
        for day in range(1, 20):
            pass_time(patch, opened, 1.0)
            tried += [day] * (await clean(opened)).count(stays)
        assert tried == [1, 2, 4, 8, 16]
    assert told(opened, stuck) == ["removed", f"stays: {source}: Permission denied"] * 6
    pass_time(monkeypatch, opened, 40.0)
    assert f"removed the work folders of run {stuck} of shop" in await clean(opened)
    assert not (opened.store.folder.runs / ".removed").exists()


async def test_what_cannot_be_moved_bars_nothing_else(opened: Context, keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "MOST_AT_ONCE", 2)
    old = [keeping.run(f"old{days}", days) for days in range(40, 34, -1)]
    for number in range(KEPT_TO_REPEAT):
        keeping.run(f"r{number}", number)
    refuse(monkeypatch, "rename", *old[:3])
    for _ in range(3):
        await clean(opened)
    assert [keeping.files(run) for run in old] == [ALL] * 3 + [LOGS] * 3
    pass_time(monkeypatch, opened, 1.5)
    late = keeping.run("late", 50)
    assert f"removed the work folders of run {late} of shop" in await clean(opened), "what is tried again went first"


async def test_what_was_moved_in_part_is_written_down(opened: Context, keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    run = keeping.run("old", 20)
    for number in range(KEPT_TO_REPEAT):
        keeping.run(f"r{number}", number)
    refuse(monkeypatch, "rename", "workspace")
    why = f"{opened.store.folder.runs / run / 'build' / '1' / 'workspace'}: Permission denied"
    assert await clean(opened) == [f"removed the work folders of run {run} of shop in part, the rest stays: {why}"]
    assert keeping.files(run) == {"build/1/log", "build/1/workspace/f"}
    assert told(opened, run) == ["removed", f"removed in part, the rest stays: {why}"]
    pass_time(monkeypatch, opened, 1.0)
    assert await clean(opened) == [f"the work folders of run {run} of shop stay: {why}"]
    (line,) = await removed_of(opened, run)
    assert line.startswith(f"the work folders of run {run} of shop were removed in part on 20"), "it says what is gone, though nothing more went"


async def test_a_file_that_cannot_be_removed_bars_nothing_else(opened: Context, keeping: Keeping) -> None:
    stuck, other = keeping.run("stuck", 30), keeping.run("other", 20)
    for number in range(KEPT_TO_REPEAT):
        keeping.run(f"r{number}", number)
    folder = opened.store.folder.runs
    roots = keeping.file(folder / stuck / "build" / "1" / "workspace" / "roots", 30)
    former = keeping.file(folder / f"..removed.manor-{os.getpid()}-7" / "deep" / "f", 30)
    with pytest.MonkeyPatch.context() as patch:
        refuse(patch, "unlink", roots.name)
        said = await clean(opened)
        assert {f"removed the work folders of run {run} of shop" for run in (stuck, other)} < set(said)
        (left,) = [path for path in (folder / ".removed").rglob("*") if path.is_file()]
        assert left.name == roots.name
        assert said[2:] == [f"{folder / '.removed'}: {left} stays (Permission denied)"]
        assert not former.parent.parent.exists(), "what a former version gave another name goes too"
        assert await clean(opened) == said[2:]
    assert await clean(opened) == []
    assert not (folder / ".removed").exists()


async def test_a_pass_is_bounded_and_the_oldest_go_first(opened: Context, keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "MOST_AT_ONCE", 2)
    old = [keeping.run(f"old{days}", days) for days in (22, 21, 20)]
    for number in range(KEPT_TO_REPEAT):
        keeping.run(f"r{number}", number)
    assert await clean(opened) == [f"removed the work folders of run {run} of shop" for run in old[:2]]
    assert await clean(opened) == [f"removed the work folders of run {old[2]} of shop"]
