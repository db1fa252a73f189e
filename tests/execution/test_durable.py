"""Every prefix of the recorded calls leaves the target wholly old or wholly new, and the last one leaves it new for sure."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from manor.errors import NotRestored
from manor.execution import files
from manor.execution.durable import Disk, remove_each, write_durably
from manor.execution.values import FileAct, HostPath, MakeFolder, PutFile, PutLink, PutTree, Remove
from tests.execution.contract import archive
from tests.execution.crashes import TORN, Inode, Model, Node, RecordingDisk, Tree, crashes


def record(act: FileAct) -> RecordingDisk:
    disk = RecordingDisk()
    files.carry_out(disk, act)
    return disk


def check(model: Model, disk: RecordingDisk, path: Path, old: Node | None, new: Node | None) -> None:
    seen = list(crashes(model, disk.calls, path))
    assert seen[0] == {old}
    assert all(views <= {old, new} for views in seen), seen
    assert seen[-1] == {new}


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_file_is_wholly_old_or_wholly_new(tmp_path: Path, before: bytes | None) -> None:
    path, model = tmp_path / "f", Model(tmp_path)
    if before is not None:
        path.write_bytes(before)
        model.settle(path, Inode(content=before))
    check(model, record(PutFile(HostPath(path), b"new")), path, before, b"new")


def test_a_link_is_wholly_old_or_wholly_new(tmp_path: Path) -> None:
    path, model = tmp_path / "current", Model(tmp_path)
    path.symlink_to("a")
    model.settle(path, Inode(link="a"))
    check(model, record(PutLink(HostPath(path), HostPath("b"))), path, "-> a", "-> b")


def test_a_tree_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    source, digest = archive(tmp_path, {"bin/run": b"go", "lib/deep/x": b"y", "link": "-> bin/run"})
    path = top / "release"
    whole = Tree(
        (("bin", Tree((("run", b"go"),))), ("lib", Tree((("deep", Tree((("x", b"y"),))),))), ("link", "-> bin/run")),
    )
    check(Model(top), record(PutTree(HostPath(path), source, digest)), path, None, whole)


def test_a_folder_vanishes_as_a_whole(tmp_path: Path) -> None:
    path, model = tmp_path / "release", Model(tmp_path)
    path.mkdir()
    (path / "x").write_bytes(b"1")
    inode = Inode()
    model.settle(path, inode)
    model.settle(path / "x", Inode(content=b"1"))
    check(model, record(Remove(HostPath(path))), path, Tree((("x", b"1"),)), None)


def test_a_file_vanishes(tmp_path: Path) -> None:
    path, model = tmp_path / "f", Model(tmp_path)
    path.write_bytes(b"1")
    model.settle(path, Inode(content=b"1"))
    check(model, record(Remove(HostPath(path))), path, b"1", None)


def test_folders_are_durable_from_the_top_down(tmp_path: Path) -> None:
    disk = record(MakeFolder(HostPath(tmp_path / "a" / "b")))
    assert [(name, path.name) for name, path, _ in disk.calls] == [("make_folder", "a"), ("sync", tmp_path.name), ("make_folder", "b"), ("sync", "a")]


def test_the_model_sees_a_rename_before_the_sync(tmp_path: Path) -> None:
    """The proof can fail: a writer that renames first is caught."""
    new, path = tmp_path / "new", tmp_path / "f"
    calls: list[tuple[str, Path, object]] = [("write", new, b"new"), ("rename", new, path), ("sync", path, None), ("sync", tmp_path, None)]
    assert any(TORN in views for views in crashes(Model(tmp_path), calls, path))


def test_the_model_sees_a_missing_sync_of_the_folder(tmp_path: Path) -> None:
    new, path = tmp_path / "new", tmp_path / "f"
    calls: list[tuple[str, Path, object]] = [("write", new, b"new"), ("sync", new, None), ("rename", new, path)]
    assert list(crashes(Model(tmp_path), calls, path))[-1] == {None, b"new"}


def test_the_disk_that_is_used_is_the_one_that_is_recorded() -> None:
    """Every call of the seam has its note; a new one without a note would go round the proof. A mode is no content, and a question no call."""
    assert {name for name in vars(Disk) if not name.startswith("_")} - {"set_mode", "require"} == {
        name for name in vars(RecordingDisk) if not name.startswith("_")
    }


class FullDisk(Disk):
    """A disk on which nothing more fits."""

    def sync(self, path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))


def test_a_write_that_fails_leaves_the_old_file_and_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="No space left on device"):
        files.carry_out(FullDisk(), PutFile(HostPath(path), b"new"))
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [("f", b"old")]


def test_others_below_write_as_durably(tmp_path: Path) -> None:
    write_durably(tmp_path / "f", b"x", 0o600)
    assert (tmp_path / "f").read_bytes() == b"x"


def test_a_write_protected_folder_vanishes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs this as root may remove it anyhow, so the first try is refused here."""
    path, elsewhere, remove = tmp_path / "left", tmp_path / "elsewhere", shutil.rmtree
    (path / "a" / "b").mkdir(parents=True)
    elsewhere.mkdir(mode=0o500)
    (path / "link").symlink_to(elsewhere)
    for folder in (path / "a" / "b", path / "a", path):
        folder.chmod(0o500)
    modes: list[list[int]] = []

    def refused_at_first(gone: Path) -> None:
        modes.append([stat.S_IMODE(folder.stat().st_mode) for folder in (gone, gone / "a", gone / "a" / "b", elsewhere)])
        if len(modes) == 1:
            raise PermissionError
        remove(gone)

    monkeypatch.setattr(shutil, "rmtree", refused_at_first)
    Disk().remove_tree(path)
    assert modes == [[0o500] * 4, [0o700, 0o700, 0o700, 0o500]]
    assert not path.exists()


def barred(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let a file of this name stay, as one in a folder that is root's."""
    unlink, remove = Path.unlink, shutil.rmtree

    def refused(path: Path, *args: bool, **named: bool) -> None:
        if path.name == name:
            raise PermissionError(1, "Operation not permitted", str(path))
        unlink(path, *args, **named)

    def refused_tree(path: Path) -> None:
        if list(path.rglob(name)):
            raise PermissionError(1, "Operation not permitted", name)
        remove(path)

    monkeypatch.setattr(Path, "unlink", refused)
    monkeypatch.setattr(shutil, "rmtree", refused_tree)


def test_each_entry_of_a_tree_goes_on_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top, elsewhere = tmp_path / "top", tmp_path / "elsewhere"
    for name in ("a/b/f", "a/roots", "c/f"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()
    elsewhere.mkdir()
    (elsewhere / "f").touch()
    (top / "c" / "link").symlink_to(elsewhere)
    (top / "c").chmod(0o500)
    barred(monkeypatch, "roots")
    assert [(error.filename, error.strerror) for error in remove_each(top)] == [(str(top / "a" / "roots"), "Operation not permitted")]
    assert [path.relative_to(top).as_posix() for path in sorted(top.rglob("*"))] == ["a", "a/roots"]
    assert (elsewhere / "f").exists()
    monkeypatch.undo()
    assert remove_each(top) == remove_each(top) == []
    assert not top.exists()


def test_an_empty_folder_that_may_not_be_looked_into_goes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may look anywhere, so the look is refused here."""
    top, look = tmp_path / "top", os.scandir
    (top / "closed").mkdir(parents=True)
    (top / "full").mkdir()
    (top / "full" / "f").touch()

    def refused(path: str) -> object:
        if Path(path).name in ("closed", "full"):
            raise PermissionError(13, "Permission denied", path)
        return look(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refused)
        assert [error.filename for error in remove_each(top)] == [str(top / "full")]
    assert [path.name for path in top.iterdir()] == ["full"]


def test_a_folder_that_goes_only_in_part_says_where_the_rest_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "release"
    path.mkdir()
    (path / "roots").touch()
    barred(monkeypatch, "roots")
    with pytest.raises(
        NotRestored, match=rf"release is gone from its place, but .*roots stays \(Operation not permitted\); remove {tmp_path}/\.release\.manor-"
    ):
        record(Remove(HostPath(path)))
    assert not path.exists()


def test_what_a_killed_act_left_and_cannot_be_removed_bars_no_other_act(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, left = tmp_path / "f", tmp_path / ".f.manor-4194305-1"
    (left / "deep").mkdir(parents=True)
    (left / "deep" / "roots").touch()
    barred(monkeypatch, "roots")
    record(PutFile(HostPath(path), b"new"))
    assert path.read_bytes() == b"new"
    assert [str(left) in line.getMessage() for line in caplog.records] == [True]
