"""Artifacts go when nobody can come back to them; one that is gone says so, with what to do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from manor.errors import UsageError
from manor.estate.layout import short
from manor.operations.step import Planned
from manor.pipeline import junit
from manor.pipeline.junit import Report
from manor.rollout.fleet import Fleet
from manor.rollout.plan import RolloutOrder, plan_rollout
from manor.state import audit, deliveries, operations, releases
from manor.state.deliveries import Wish
from manor.state.operations import NewOperation
from manor.state.words import OperationState, RunState, Slot, Standing, Traffic
from manor.workflows import artifacts, retaining_artifacts, retaining_runs, rolling
from manor.workflows.artifacts import Origin
from manor.workflows.context import Context
from manor.workflows.deliveries import promote, ship
from manor.workflows.retention import clean
from manor.workflows.rollback import rollback
from manor.workflows.rolling import Carrying
from manor.workflows.services import restart_service
from tests.workflows.keeping import Keeping, digest


@pytest.fixture
def keeping(opened: Context, monkeypatch: pytest.MonkeyPatch) -> Keeping:
    """Of a service only the newest artifact is kept for its age alone, of a repository only the newest run."""
    monkeypatch.setattr(retaining_artifacts, "KEPT_ARTIFACTS", 1)
    monkeypatch.setattr(retaining_runs, "KEPT_TO_REPEAT", 1)
    return Keeping(opened.store)


def in_a_slot(connection: sa.Connection, release: str, environment: str) -> None:
    operation = operations.create(connection, NewOperation("ship", environment, "shop"), at=1.0)
    operations.change(connection, operation.id, token=1, state=OperationState.RUNNING)
    releases.put_slot(connection, environment, "shop", "shop@web-1", Slot("b"), release, Traffic.NONE, operation.id, 1, at=1.0)
    operations.change(connection, operation.id, state=OperationState.DONE, ended_at=2.0)


def certify(keeping: Keeping, environment: str, *artifacts: str) -> None:
    for artifact in artifacts:
        keeping.store.write_now(releases.certify, environment, "shop", keeping.release(artifact), Standing.CERTIFIED, "o", at=1.0)


async def test_only_what_nobody_can_come_back_to_goes(opened: Context, keeping: Keeping) -> None:
    old = {name: keeping.artifact(name, 100 - number) for number, name in enumerate(("oldest", "first", "before", "last", "slot", "host", "undeclared", "run"))}
    certify(keeping, "prod", old["first"], old["before"], old["last"])
    keeping.store.write_now(in_a_slot, keeping.release(old["slot"]), "dev")
    keeping.store.write_now(in_a_slot, keeping.release(old["undeclared"]), "former")
    (opened.store.folder.hosts / "former" / "web-9" / "releases" / "shop" / short(keeping.release(old["host"]))).mkdir(parents=True)
    keeping.run("repeatable", 90, artifact=old["run"], state=RunState.FAILED)
    young, newest, other = keeping.artifact("young", 29), keeping.artifact("newest", 28), keeping.artifact("theirs", 300, service="pim")
    assert await clean(opened) == [f"removed the files of artifact {old[name][:12]} of shop" for name in ("oldest", "first")]
    assert keeping.artifacts() == {young, newest, other, *(key for name, key in old.items() if name not in ("oldest", "first"))}
    assert not (opened.store.folder.artifacts / f"{old['oldest']}.junit.xml").exists()
    assert (opened.store.folder.artifacts / f"{newest}.junit.xml").exists()
    assert [line.after for line in opened.store.read_now(audit.lines, object=f"artifact/{old['first']}")] == ["removed"]
    assert opened.store.read_now(releases.get_artifact, old["first"]).service == "shop", "its row stays"
    assert not (opened.store.folder.artifacts / ".removed").exists()
    assert await clean(opened) == []


async def test_a_failed_run_that_can_be_done_again_keeps_what_it_packed(opened: Context, keeping: Keeping) -> None:
    packed = keeping.artifact("packed", 100)
    keeping.artifact("newest", 99)
    run = keeping.run("failed", 100, artifact=packed, state=RunState.FAILED)
    opened.store.write_now(lambda connection: connection.execute(sa.text("UPDATE runs SET artifact = ''")))
    assert await clean(opened) == []
    keeping.run("newer", 90)
    assert await clean(opened) == [f"removed the files of artifact {packed[:12]} of shop", f"removed the work folders of run {run} of shop"]


UNFINISHED: dict[str, Callable[[sa.Connection], object]] = {
    "an open delivery": lambda connection: deliveries.write_down(connection, Wish("ship", "shop", digest("newest"), "dev"), at=1.0),
    "a paused operation": lambda connection: operations.change(
        connection, operations.create(connection, NewOperation("ship", "prod", "shop"), at=1.0).id, state=OperationState.PAUSED
    ),
    "an apply under way": lambda connection: operations.change(
        connection, operations.create(connection, NewOperation("apply", "dev"), at=1.0).id, state=OperationState.RUNNING
    ),
}


@pytest.mark.parametrize("what", UNFINISHED)
async def test_a_service_of_which_anything_is_unfinished_is_left_alone(opened: Context, keeping: Keeping, what: str) -> None:
    old, newest = keeping.artifact("old", 100), keeping.artifact("newest", 50)
    opened.store.write_now(UNFINISHED[what])
    assert await clean(opened) == []
    assert keeping.artifacts() == {old, newest}


async def test_what_is_being_handed_in_stays_and_what_nobody_came_back_for_goes(opened: Context, keeping: Keeping) -> None:
    folder, nobodys, fresh = opened.store.folder.artifacts, digest("nobody's"), digest("just kept")
    for name, days in ((f"{nobodys}.tar", 31.0), (f"{fresh}.tar", 1.0), (".incoming.manor-1-1", 99.0), ("incoming/upload", 99.0)):
        keeping.file(folder / name, days)
    assert await clean(opened) == [f"removed the files of artifact {nobodys[:12]} of nobody"]
    assert {path.name for path in folder.iterdir()} == {f"{fresh}.tar", ".incoming.manor-1-1", "incoming"}
    assert (folder / "incoming" / "upload").exists()


async def test_what_is_handed_in_once_more_is_young_again(opened: Context, keeping: Keeping) -> None:
    old = keeping.artifact("old", 100)
    keeping.artifact("newest", 50)
    keeping.file(opened.store.folder.artifacts / f"{old}.tar", 0)
    assert await clean(opened) == []


def built(folder: Path, number: int) -> Path:
    """Return an artifact's folder."""
    made = folder / f"build-{number}"
    made.mkdir()
    (made / "page").write_text(str(number))
    return made


async def test_an_artifact_that_is_gone_is_refused_with_what_to_do_before_anything_is_begun(context: Context, tmp_path: Path) -> None:
    me = Carrying("ann")
    for number in (1, 2):
        await ship(context, "shop", built(tmp_path, number), me, origin=Origin(commit=f"{number}" * 40))
    first = context.store.read_now(releases.recent_releases, "shop")[-1]
    (context.store.folder.artifacts / f"{first.artifact}.tar").unlink()
    count = len(context.store.read_now(operations.recent))
    lost = rf"the artifact {first.artifact[:12]} of shop is no longer in the store \(its file was removed by hand, or lost\); hand the same files in again"
    with pytest.raises(UsageError, match=lost):
        await promote(context, "shop", "prod", me, release=first.id)
    context.store.write_now(audit.record, "controller", "retention", f"artifact/{first.artifact}", at=86400.0, before="files of it", after="removed")
    gone = r"no longer in the store \(the files of it were removed on 1970-01-02\); hand the same files in again, `manor ship shop --commit 111111111111`"
    with pytest.raises(UsageError, match=gone):
        await rollback(context, "shop", "dev", me, to=first.id)
    assert len(context.store.read_now(operations.recent)) == count
    assert context.store.read_now(deliveries.unfinished) == ()
    assert (await restart_service(context, "shop", "dev", me)).release != short(first.id)
    again = await ship(context, "shop", tmp_path / "build-1", me, origin=Origin(commit="1" * 40), again="it is wanted again")
    assert again[0].release == short(first.id)


async def test_what_every_host_has_unpacked_is_returned_to_and_restarted_without_its_artifact(context: Context, tmp_path: Path) -> None:
    me = Carrying("ann")
    for number in (1, 2):
        await ship(context, "shop", built(tmp_path, number), me, origin=Origin(commit=f"{number}" * 40))
    second = context.store.read_now(releases.last_certified, "dev", "shop")
    assert second is not None
    first = context.store.read_now(releases.last_certified, "dev", "shop", but=second.id)
    assert first is not None
    for release in (first, second):
        (context.store.folder.artifacts / f"{release.artifact}.tar").unlink()
    layout = context.site("dev").hosts["web-1"].layout
    Path(layout.release("shop", short(first.id))).mkdir(parents=True)
    assert (await rollback(context, "shop", "dev", me, to=first.id)).release == short(first.id)
    with pytest.raises(UsageError, match="is no longer in the store"):
        await rollback(context, "shop", "dev", me, to=second.id)
    assert (await restart_service(context, "shop", "dev", me)).release == short(first.id)


async def test_an_artifact_that_goes_while_a_promotion_is_judged_is_refused_when_it_is_written_down(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ship(context, "shop", built(tmp_path, 1), Carrying("ann"), origin=Origin(commit="1" * 40), to="dev")
    count = len(context.store.read_now(operations.recent))

    async def meanwhile(_context: Context, artifact: str, _gates: object) -> list[str]:
        (context.store.folder.artifacts / f"{artifact}.tar").unlink()
        return []

    monkeypatch.setattr("manor.workflows.deliveries.gate_problems", meanwhile)
    with pytest.raises(UsageError, match="is no longer in the store"):
        await promote(context, "shop", "prod", Carrying("ann"))
    assert context.store.read_now(deliveries.unfinished) == ()
    assert len(context.store.read_now(operations.recent)) == count


async def test_an_artifact_that_goes_while_a_way_back_is_planned_is_refused_when_it_is_written_down(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        await ship(context, "shop", built(tmp_path, number), Carrying("ann"), origin=Origin(commit=f"{number}" * 40), to="dev")
    first = context.store.read_now(releases.recent_releases, "shop")[-1]
    count, plan = len(context.store.read_now(operations.recent)), plan_rollout

    def meanwhile(order: RolloutOrder) -> list[Planned[Fleet]]:
        (context.store.folder.artifacts / f"{first.artifact}.tar").unlink()
        return list(plan(order))

    monkeypatch.setattr(rolling, "plan_rollout", meanwhile)
    with pytest.raises(UsageError, match="is no longer in the store"):
        await rollback(context, "shop", "dev", Carrying("ann"), to=first.id)
    assert len(context.store.read_now(operations.recent)) == count


async def test_an_operation_that_begins_after_it_was_noted_keeps_an_artifact(opened: Context, keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    old = keeping.artifact("old", 100)
    newest = keeping.artifact("newest", 50)
    certify(keeping, "prod", newest)
    write = type(opened.store).write

    async def begun(store: object, do: object, *args: object, **named: object) -> object:
        if getattr(do, "__name__", "") == "move":
            opened.store.write_now(UNFINISHED["a paused operation"])
        return await write(store, do, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(type(opened.store), "write", begun)
    assert await clean(opened) == [f"the files of artifact {old[:12]} of shop stay: it is needed again"]
    assert keeping.artifacts() == {old, newest}


async def test_a_report_is_not_read_in_the_event_loop(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report, readers = tmp_path / "junit.xml", set[int]()
    report.write_text("<testsuite><testcase/><testcase><failure/></testcase></testsuite>")
    await ship(context, "shop", built(tmp_path, 1), Carrying("ann"), origin=Origin(junit=report), to="dev")
    parse = junit.parse_report

    def noted(content: bytes) -> Report:
        readers.add(threading.get_ident())
        return parse(content)

    monkeypatch.setattr(artifacts, "parse_report", noted)
    (brief,) = context.store.read_now(releases.artifacts)
    found = await artifacts.tests_of(context, context.store.read_now(releases.get_artifact, brief.digest))
    assert found is not None
    assert (found.tests, found.failed, len(readers)) == (2, 1, 1)
    assert threading.get_ident() not in readers
