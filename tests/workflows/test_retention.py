"""What nobody needs any more goes: never what runs, what a rollback returns to, what is unfinished or held, nor a receipt."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from manor.errors import ManorError, NotOurs, TimedOut, Unreachable
from manor.estate.layout import short
from manor.execution import durable, files
from manor.execution.local import LocalRunner
from manor.execution.values import HostPath
from manor.state import audit, leases, operations, receipts, releases
from manor.state.holder import process_start, this_process
from manor.state.leases import Lease
from manor.state.operations import NewOperation, Operation
from manor.state.receipts import ReceiptRow
from manor.state.releases import Artifact
from manor.state.words import OperationState, Slot, Standing, Traffic
from manor.workflows import retention
from manor.workflows.context import Context
from manor.workflows.retention import KEPT_RELEASES, KEPT_SECONDS, clean, superfluous

DAY = 86400.0
MADE = KEPT_RELEASES + 6


def test_the_newest_and_the_spared_stay_and_what_is_not_known_is_left_alone() -> None:
    known = [f"r{number:02}" for number in range(20)]
    assert superfluous([*known, "stranger"], known, {"r12", "r19"}) == ("r10", "r11", "r13", "r14", "r15", "r16", "r17", "r18")
    assert superfluous(known[:KEPT_RELEASES], known, set()) == ()
    assert superfluous(known[5:], known, set()) == tuple(known[15:])


@pytest.fixture
def placed(opened: Context) -> list[str]:
    """Sixteen releases on both of prod's web hosts, newest first; the oldest runs, the two before it are what a rollback returns to."""
    opened.wiring("prod")
    names = opened.store.write_now(make_releases)
    for host in ("web-1", "web-2"):
        layout = opened.site("prod").hosts[host].layout
        for name in names:
            Path(layout.release("shop", short(name))).mkdir(parents=True)
    return [short(name) for name in reversed(names)]


def make_releases(connection: sa.Connection) -> list[str]:
    releases.add_artifact(connection, Artifact("d" * 64, "shop", 1, "", "", "", "{}", 0.0))
    made = [releases.add_release(connection, "shop", "d" * 64, f'{{"n": {number}}}', at=float(number)).id for number in range(MADE)]
    operation = operations.create(connection, NewOperation("ship", "prod", "shop"), at=1.0)
    operations.change(connection, operation.id, token=1, state=OperationState.RUNNING)
    releases.put_slot(connection, "prod", "shop", "shop@web-1", Slot("a"), made[0], Traffic.READY, operation.id, 1, at=1.0)
    for release in (made[1], made[2]):
        releases.certify(connection, "prod", "shop", release, Standing.CERTIFIED, operation.id, "", at=1.0)
    operations.change(connection, operation.id, state=OperationState.DONE, ended_at=2.0)
    return made


def lying(context: Context, host: str) -> set[str]:
    folder = Path(context.site("prod").hosts[host].layout.release("shop", "any")).parent
    return {path.name for path in folder.iterdir()}


async def test_old_releases_go_under_the_lease_with_a_line_in_the_audit(opened: Context, placed: list[str]) -> None:
    said = await clean(opened)
    kept = {*placed[:KEPT_RELEASES], *placed[-3:]}
    assert lying(opened, "web-1") == lying(opened, "web-2") == kept
    assert len(said) == 2
    lines = [line for line in opened.store.read_now(audit.lines, object="prod/shop") if line.verb == "retention"]
    assert [(line.actor, line.after, line.before.partition(":")[0]) for line in lines] == [
        ("controller", "removed", "web-1"),
        ("controller", "removed", "web-2"),
    ]
    assert all(name in lines[0].before for name in placed[KEPT_RELEASES:-3])
    assert Path(opened.site("prod").hosts["web-1"].layout.token("prod/shop")).exists()
    assert opened.store.read_now(leases.standing) == ()
    assert await clean(opened) == []


def pause_a_rollout(connection: sa.Connection) -> None:
    paused = operations.create(connection, NewOperation("ship", "prod", "shop"), at=3.0)
    operations.change(connection, paused.id, state=OperationState.PAUSED)


async def test_what_is_held_or_unfinished_is_left_alone(opened: Context, placed: list[str]) -> None:
    parent = replace(this_process(), pid=os.getppid(), process_started=process_start(os.getppid()) or 0)
    held = opened.store.write_now(leases.acquire, "prod/shop", "o", holder=parent, now=opened.store.clock.now())
    assert await clean(opened) == []
    opened.store.write_now(leases.release, "prod/shop", held.token)
    opened.store.write_now(pause_a_rollout)
    assert await clean(opened) == []
    assert lying(opened, "web-1") == set(placed)


async def test_a_host_that_does_not_answer_keeps_its_own_and_hinders_no_other(opened: Context, placed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    change = LocalRunner.change

    async def dead(runner: LocalRunner, acts: object) -> None:
        if runner.host == "prod/web-1":
            raise Unreachable("no answer")
        await change(runner, acts)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalRunner, "change", dead)
    said = await clean(opened)
    assert ["stay: no answer" in line for line in said] == [True, False]
    assert (len(lying(opened, "web-1")), len(lying(opened, "web-2"))) == (MADE, KEPT_RELEASES + 3)


@pytest.mark.parametrize("error", [TimedOut("no answer"), NotOurs("untouchable")])
async def test_a_host_that_can_not_be_looked_at_hinders_nothing_else(
    opened: Context, placed: list[str], monkeypatch: pytest.MonkeyPatch, error: ManorError
) -> None:
    old, listing = await recorded(opened, KEPT_SECONDS / DAY + 1), LocalRunner.listing

    async def dead(runner: LocalRunner, folder: HostPath) -> Sequence[str]:
        if runner.host == "prod/web-1":
            raise error
        return await listing(runner, folder)

    monkeypatch.setattr(LocalRunner, "listing", dead)
    said = await clean(opened)
    assert said[0] == f"prod/shop: web-1: releases of shop stay: {error}"
    assert said[1].startswith("prod/shop: removed web-2: releases ")
    assert said[2:] == [f"dev/shop: removed the recording of the probe of {old}"]
    assert (len(lying(opened, "web-1")), len(lying(opened, "web-2"))) == (MADE, KEPT_RELEASES + 3)


async def test_a_part_that_fails_keeps_no_other_from_its_turn(opened: Context, placed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(_context: Context) -> list[str]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(retention, "clean_hosts", full)
    old = await recorded(opened, KEPT_SECONDS / DAY + 1)
    assert await clean(opened) == [
        "releases on hosts: not all could be done: [Errno 28] No space left on device",
        f"dev/shop: removed the recording of the probe of {old}",
    ]
    assert lying(opened, "web-1") == set(placed)


async def recorded(context: Context, days: float, *, with_receipt: bool = True) -> str:
    """Return an operation that ended so many days ago and left a recording."""
    now = context.store.clock.now()

    def write(connection: sa.Connection) -> str:
        made = operations.create(connection, NewOperation("ship", "dev", "shop"), at=now - days * DAY)
        operations.change(connection, made.id, state=OperationState.DONE, ended_at=now - days * DAY)
        if with_receipt:
            receipts.keep_first(connection, ReceiptRow(made.id, "dev", "shop", "r", 0, "{}", now))
        return made.id

    operation = context.store.write_now(write)
    folder = retention.recordings(context) / operation
    folder.mkdir(parents=True)
    (folder / "results.jsonl").write_text("{}\n")
    return operation


async def test_recordings_go_after_thirty_days_and_receipts_never(opened: Context) -> None:
    old = await recorded(opened, KEPT_SECONDS / DAY + 1)
    young = await recorded(opened, KEPT_SECONDS / DAY - 1)
    without = await recorded(opened, 400, with_receipt=False)
    (retention.recordings(opened) / "unknown").mkdir()
    assert await clean(opened) == [f"dev/shop: removed the recording of the probe of {old}"]
    assert {path.name for path in retention.recordings(opened).iterdir()} == {young, without, "unknown"}
    assert opened.store.read_now(receipts.find, old) is not None
    assert [line.before for line in opened.store.read_now(audit.lines, operation=old) if line.verb == "retention"] == [f"recording of the probe of {old}"]


@pytest.fixture
def stubborn(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have the file system hold on to every folder in whose name a word is; the empty word: to none."""
    held = [""]
    remove_tree, each = shutil.rmtree, durable.remove_each

    def tree(path: Path) -> None:
        if held[0] and held[0] in path.name:
            raise PermissionError(1, "Operation not permitted", str(path / "of-root"))
        remove_tree(path)

    def stays(path: Path) -> list[OSError]:
        return [PermissionError(1, "Operation not permitted", str(path / "of-root"))] if held[0] and held[0] in path.name else each(path)

    monkeypatch.setattr(shutil, "rmtree", tree)
    for module in (files, retention):
        monkeypatch.setattr(module, "remove_each", stays)
    return lambda word: held.__setitem__(0, word)


async def test_a_release_that_goes_only_in_part_is_told_so_and_its_rest_goes_later(opened: Context, placed: list[str], stubborn: Callable[[str], None]) -> None:
    bad = placed[KEPT_RELEASES]
    stubborn(bad)
    said = await clean(opened)
    folder = Path(opened.site("prod").hosts["web-1"].layout.release("shop", bad)).parent
    (rest,) = folder.glob(f".{bad}.manor-*")
    part = f"prod/shop: web-1: release {bad} of shop was removed in part, the rest stays: {folder / bad} is gone from its place, but {rest}/of-root stays "
    assert [line.startswith(part) for line in said] == [False, True, False, False]
    assert bad not in said[0], "the others went"
    lines = [line for line in opened.store.read_now(audit.lines, object="prod/shop") if line.before == f"web-1: release {bad} of shop"]
    assert [line.after.startswith("removed in part, the rest stays: ") for line in lines] == [True]
    again = await clean(opened)
    assert [path.name for path in folder.glob(".*.manor-*")] == [rest.name], "it gets no further name"
    assert all("/of-root stays (Operation not permitted)" in line for line in again)
    stubborn("")
    assert await clean(opened) == []
    assert list(folder.glob(".*")) == []


async def test_a_recording_that_can_not_be_removed_keeps_no_other_from_its_turn(opened: Context, stubborn: Callable[[str], None]) -> None:
    first, second = sorted([await recorded(opened, KEPT_SECONDS / DAY + 1), await recorded(opened, KEPT_SECONDS / DAY + 2)])
    stubborn(first)
    said = await clean(opened)
    assert said[0].startswith(f"dev/shop: the recording of the probe of {first} was removed in part, the rest stays: ")
    assert said[1] == f"dev/shop: removed the recording of the probe of {second}"
    (rest,) = retention.recordings(opened).iterdir()
    assert said[2] == f"{rest}: {rest}/of-root stays (Operation not permitted)"
    assert [line.after.partition(":")[0] for line in opened.store.read_now(audit.lines, operation=first) if line.verb == "retention"] == [
        "removed",
        "removed in part, the rest stays",
    ]
    stubborn("")
    assert await clean(opened) == []
    assert list(retention.recordings(opened).iterdir()) == []


async def test_what_raises_at_one_recording_is_told_and_the_next_goes(opened: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = sorted([await recorded(opened, KEPT_SECONDS / DAY + 1), await recorded(opened, KEPT_SECONDS / DAY + 2)])
    real = retention.remove_recording

    async def broken(context: Context, operation: Operation, held: Sequence[Lease]) -> list[str]:
        if operation.id == first:
            raise OSError(5, "Input/output error")
        return await real(context, operation, held)

    monkeypatch.setattr(retention, "remove_recording", broken)
    assert await clean(opened) == [
        f"dev/shop: recording of the probe of {first}: not all could be done: [Errno 5] Input/output error",
        f"dev/shop: removed the recording of the probe of {second}",
    ]
