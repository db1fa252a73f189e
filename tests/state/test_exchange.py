"""A restore is killed before and after every call that changes the disk: the next one to come finds the old state or the new one, and nothing is lost."""

from __future__ import annotations

import itertools
import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from manor.errors import ApplyFailed, Busy
from manor.execution.durable import Disk
from manor.state import audit, exchange
from manor.state.backup import backup, restore
from manor.state.folder import KEPT_IN_BACKUPS, StateFolder
from manor.state.lock import alone, share
from manor.state.scratch import open_copy
from manor.state.store import Store
from tests.execution.crashes import Model, RecordingDisk
from tests.operations.model import FakeClock, Killed

Prepared = tuple[Path, Path]
"""A state folder and a backup to restore into it."""


class DyingDisk(Disk):
    """Makes so many changes and is then killed: before the next one, or, where that is a file or a tree, in the middle of it."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1

    def write(self, path: Path, chunks: Iterable[bytes], mode: int) -> None:
        if self.left == 0:
            super().write(path, [b"".join(chunks)[:5]], mode)
        self.spend()
        super().write(path, chunks, mode)

    def make_folder(self, path: Path, mode: int) -> None:
        self.spend()
        super().make_folder(path, mode)

    def rename(self, source: Path, target: Path) -> None:
        self.spend()
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self.spend()
        super().unlink(path)

    def remove_tree(self, path: Path) -> None:
        if self.left == 0:
            for below in itertools.islice(path.iterdir(), 1):
                below.rmdir() if below.is_dir() else below.unlink()
        self.spend()
        super().remove_tree(path)


def actors(store: Store) -> list[str]:
    """Return who did something, in a state whose files say the same."""
    found = [line.actor for line in store.read_now(audit.lines)]
    assert sorted(path.name for path in store.folder.artifacts.iterdir()) == sorted(f"{actor}.tar" for actor in found), "a mixed state"
    return found


def act(store: Store, actor: str) -> None:
    store.write_now(audit.record, actor, "ship", "prod/shop", at=1.0)
    (store.folder.artifacts / f"{actor}.tar").write_bytes(actor.encode())


@pytest.fixture(params=["plain", "replace"])
def prepared(request: pytest.FixtureRequest, tmp_path: Path, begin_state: Callable[[Path], Path], clock: FakeClock) -> Prepared:
    """A backup by ann; the folder to restore it into is empty, or holds what bob did since."""
    with Store.open(begin_state(tmp_path / "first"), clock) as store:
        act(store, "ann")
        backup(store, tmp_path / "b.tar")
        if request.param == "replace":
            act(store, "bob")
    if request.param == "plain":
        begin_state(tmp_path / "empty")
    return tmp_path / ("empty" if request.param == "plain" else "first"), tmp_path / "b.tar"


def open_it(folder: Path, _archive: Path, clock: FakeClock) -> list[str]:
    with Store.open(folder, clock) as store:
        return actors(store)


def look_at_it(folder: Path, _archive: Path, clock: FakeClock) -> list[str]:
    """Dry runs see what will be, and change nothing."""
    before = sorted(folder.rglob("*"))
    with open_copy(folder) as store:
        seen = actors(store)
    assert sorted(folder.rglob("*")) == before
    assert open_it(folder, _archive, clock) == seen
    return seen


def restore_it(folder: Path, archive: Path, clock: FakeClock) -> list[str]:
    assert restore(archive, folder, replace=True, clock=clock).entries
    return open_it(folder, archive, clock)


def kill(folder: Path, archive: Path, after: int, clock: FakeClock) -> bool:
    """Restore, and be killed after so many changes; tell whether it came to that."""
    try:
        restore(archive, folder, replace=True, clock=clock, disk=DyingDisk(after))
    except Killed:
        return True
    return False


@pytest.mark.parametrize("go_on", [open_it, look_at_it, restore_it])
def test_whatever_is_done_next_finds_one_whole_state_and_nothing_is_lost(
    prepared: Prepared, tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture, go_on: Callable[[Path, Path, FakeClock], list[str]]
) -> None:
    folder, archive = prepared
    before = open_it(folder, archive, clock)
    ends = []
    for after in itertools.count():
        copy = tmp_path / f"copy-{after}"
        shutil.copytree(folder, copy)
        if not kill(copy, archive, after, clock):
            break
        caplog.clear()
        found = go_on(copy, archive, clock)
        ends.append(found)
        assert [record.levelno for record in caplog.records] == [logging.WARNING], "it has to be said, once"
        if found == ["ann"] and (copy / "before-restore-1").exists():
            assert open_it(copy / "before-restore-1", archive, clock) == before
        else:
            assert found == before
        assert not (copy / "restoring").exists()
        assert not (copy / "exchange.json").exists()
        assert list(copy.glob("before-restore-*")) in ([], [copy / "before-restore-1"]), "it was done twice"
    assert len(ends) >= 2 * len(KEPT_IN_BACKUPS) + 5
    assert ends == sorted(ends, key=lambda end: end == ["ann"]), "undone after it was decided"
    assert ends[-1] == ["ann"]


def test_who_finishes_may_be_killed_at_every_step_too(prepared: Prepared, clock: FakeClock) -> None:
    folder, archive = prepared
    before = open_it(folder, archive, clock)
    assert kill(folder, archive, 3, clock)
    place, kills = StateFolder(folder), 0
    while exchange.is_unsettled(place):
        with alone(place.lock):
            try:
                exchange.finish(DyingDisk(1), place)
            except Killed:
                kills += 1
    assert kills > len(KEPT_IN_BACKUPS)
    assert open_it(folder, archive, clock) == ["ann"]
    assert open_it(folder / "before-restore-1", archive, clock) == before


def test_a_restore_without_replace_that_was_killed_is_done_when_it_is_asked_for_again(prepared: Prepared, clock: FakeClock) -> None:
    folder, archive = prepared
    assert kill(folder, archive, 4, clock)
    assert restore(archive, folder, clock=clock).entries
    assert open_it(folder, archive, clock) == ["ann"]


def bare(folder: Path) -> StateFolder:
    """Return a folder in which each part holds a file that says whether it is old or new."""
    place = StateFolder(folder)
    for top, word in ((place.path, "old"), (place.restoring, "new")):
        for part in KEPT_IN_BACKUPS:
            (top / part).mkdir(parents=True)
            (top / part / "f").write_text(word)
        (top / "state.db").write_text(word)
    for name in exchange.COMPANIONS:
        (place.path / name).write_text("old")
    return place


def test_the_log_of_the_old_database_never_lies_beside_the_new_one(tmp_path: Path) -> None:
    for after in itertools.count():
        place = bare(tmp_path / str(after))
        try:
            exchange.change_places(DyingDisk(after), place, "b")
        except Killed:
            if place.database.exists() and place.database.read_text() == "new":
                assert not any((place.path / name).exists() for name in exchange.COMPANIONS)
            continue
        break
    aside = place.path / "before-restore-1"
    assert {path.name: path.read_text() for path in aside.iterdir() if path.is_file()} == dict.fromkeys(("state.db", *exchange.COMPANIONS), "old")
    assert {(place.path / part / "f").read_text() for part in KEPT_IN_BACKUPS} == {"new"}


def test_the_decision_is_durable_before_anything_is_moved_and_kept_until_all_is(tmp_path: Path) -> None:
    place, disk = bare(tmp_path / "state"), RecordingDisk()
    exchange.change_places(disk, place, "b")
    aside = place.path / "before-restore-1"
    moves = [number for number, (name, path, _) in enumerate(disk.calls) if name == "rename" and ".manor-" not in path.name]
    assert disk.calls[0] == ("sync_all", place.restoring, None), "what was unpacked is not durable"
    model = Model(place.path)
    for call in disk.calls[1 : moves[0]]:
        model.carry_out(call)
    assert all(isinstance(view, bytes) and view.startswith(b"{") for view in model.views(place.exchange)), "moved before the decision was durable"
    after = [(name, path) for name, path, _ in disk.calls[moves[-1] :]]
    assert {path for name, path in after[: after.index(("unlink", place.exchange))] if name == "sync"} == {place.path, place.restoring, aside}
    assert after[-1] == ("sync", place.path)


def test_what_somebody_made_in_the_middle_is_kept_too(tmp_path: Path) -> None:
    place = bare(tmp_path / "state")
    with pytest.raises(Killed):
        exchange.change_places(DyingDisk(4), place, "b")
    assert not (place.path / "artifacts").exists()
    (place.path / "artifacts").mkdir()
    (place.path / "artifacts" / "f").write_text("later")
    exchange.finish(Disk(), place)
    aside = place.path / "before-restore-1"
    assert [(aside / name / "f").read_text() for name in ("artifacts", "artifacts.1")] == ["old", "later"]
    assert (place.path / "artifacts" / "f").read_text() == "new"


def test_a_disk_that_fails_is_told_and_the_next_one_goes_on(prepared: Prepared, clock: FakeClock) -> None:
    class Full(Disk):
        def rename(self, source: Path, target: Path) -> None:
            if target.name == "runs":
                raise OSError(28, "No space left on device", str(target))
            super().rename(source, target)

    folder, archive = prepared
    with pytest.raises(ApplyFailed, match=r"runs: No space left on device; the restore stands still; nothing is lost"):
        restore(archive, folder, replace=True, clock=clock, disk=Full())
    assert open_it(folder, archive, clock) == ["ann"]


class FullAt(Disk):
    """A disk that fails at one call."""

    def __init__(self, call: str, path_name: str) -> None:
        self.call, self.path_name = call, path_name

    def fail(self, call: str, path: Path) -> None:
        if (call, path.name) == (self.call, self.path_name):
            raise OSError(28, "No space left on device", str(path))

    def sync_all(self, path: Path) -> None:
        self.fail("sync_all", path)
        super().sync_all(path)

    def write(self, path: Path, chunks: Iterable[bytes], mode: int) -> None:
        self.fail("write", Path(path.name.partition(".manor-")[0]))
        super().write(path, chunks, mode)

    def sync(self, path: Path) -> None:
        if path.is_dir() and (path / "exchange.json").exists():
            self.fail("sync", Path("folder"))
        super().sync(path)


@pytest.mark.parametrize(("call", "path_name"), [("sync_all", "restoring"), ("write", ".exchange.json")])
def test_a_disk_that_fails_before_it_is_decided_changes_nothing_and_says_so(
    prepared: Prepared, clock: FakeClock, caplog: pytest.LogCaptureFixture, call: str, path_name: str
) -> None:
    folder, archive = prepared
    before = open_it(folder, archive, clock)
    with pytest.raises(ApplyFailed, match=r"No space left on device; the restore was given up, nothing was changed$"):
        restore(archive, folder, replace=True, clock=clock, disk=FullAt(call, path_name))
    assert not (folder / "restoring").exists()
    assert open_it(folder, archive, clock) == before
    assert caplog.records == []


def test_a_decision_that_is_there_is_gone_on_with_though_the_disk_failed(prepared: Prepared, clock: FakeClock) -> None:
    folder, archive = prepared
    with pytest.raises(ApplyFailed, match=r"the restore stands still; nothing is lost, and whoever opens the state next goes on with it"):
        restore(archive, folder, replace=True, clock=clock, disk=FullAt("sync", "folder"))
    assert open_it(folder, archive, clock) == ["ann"]


def test_what_was_unpacked_and_can_not_be_removed_is_left_to_the_next_one(prepared: Prepared, clock: FakeClock) -> None:
    class Broken(FullAt):
        def remove_tree(self, path: Path) -> None:
            raise OSError(5, "Input/output error", str(path))

    folder, archive = prepared
    before = open_it(folder, archive, clock)
    with pytest.raises(ApplyFailed, match=r"nothing was changed; what it had unpacked is removed by whoever opens the state next \(.*restoring: Input"):
        restore(archive, folder, replace=True, clock=clock, disk=Broken("sync_all", "restoring"))
    assert open_it(folder, archive, clock) == before
    assert not (folder / "restoring").exists()


def test_who_finds_that_somebody_else_finishes_it_waits_for_that(prepared: Prepared, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, archive = prepared
    assert kill(folder, archive, 4, clock)
    place = StateFolder(folder)
    held = [share(place.lock)]

    def meanwhile(_seconds: float) -> None:
        """The other one finishes it, and goes on for long."""
        if len(held) == 1:
            held[0].close()
            with alone(place.lock):
                exchange.settle(place)
            held.append(share(place.lock))

    now = itertools.count()
    monkeypatch.setattr("time.sleep", meanwhile)
    monkeypatch.setattr("time.monotonic", lambda: float(next(now)))
    exchange.shared(place).close()
    held[1].close()
    monkeypatch.undo()
    assert open_it(folder, archive, clock) == ["ann"]


def test_who_waits_for_a_restore_does_not_wait_for_ever(prepared: Prepared, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, archive = prepared
    assert kill(folder, archive, 4, clock)
    now = itertools.count()
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.setattr("time.monotonic", lambda: float(next(now)))
    with share(StateFolder(folder).lock), pytest.raises(Busy, match="is open in another process"):
        exchange.shared(StateFolder(folder))


def test_a_damaged_database_is_replaced(tmp_path: Path, prepared: Prepared, clock: FakeClock) -> None:
    folder, archive = prepared
    shutil.rmtree(folder / "artifacts")
    (folder / "state.db").write_text("no database at all")
    restore(archive, folder, replace=True, clock=clock)
    assert open_it(folder, archive, clock) == ["ann"]
    assert (folder / "before-restore-1" / "state.db").read_text() == "no database at all"
