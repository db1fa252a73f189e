"""The local runner keeps the contract on this machine's own files."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from manor.errors import ApplyFailed, NotOurs, TimedOut
from manor.execution import detached, files, reading
from manor.execution.durable import Disk
from manor.execution.guard import Guard
from manor.execution.local import LOOKS_AT_ONCE, LocalRunner, in_thread
from manor.execution.values import Command, Detached, DetachedState, FileAct, HostPath, MakeFolder, PutFile, PutLink, PutTree, Remove
from tests.execution.contract import RunnerContract, Stage, archive, guard_for


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    root, foreign = tmp_path / "root", tmp_path / "foreign"
    root.mkdir()
    foreign.mkdir()
    guard = guard_for(HostPath(root), HostPath(foreign))
    return Stage(LocalRunner("prod/web-1", guard, root=HostPath(root)), HostPath(root), HostPath(foreign))


class TestContract(RunnerContract):
    async def lay_link(self, stage: Stage, name: str) -> None:
        Path(stage.root / name).symlink_to(stage.foreign)

    def hang(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        """As on a share whose server is gone: the call does not come back."""
        answered = threading.Event()
        reads = ((reading, "read"), (reading, "digest"), (reading, "listings"), (reading, "tail"), (detached, "stand"))
        for module, name in (*reads, (files, "carry_out")):
            monkeypatch.setattr(module, name, lambda *_: answered.wait(5))
        monkeypatch.setattr(stage.runner, "leave_seconds", 0.0)
        return answered.set


async def test_what_hangs_takes_no_place_from_what_comes_after(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """More reads than go on at once have hung; the disk answers again, and so does the runner."""
    answered = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(reading, "listings", lambda _: answered.wait(5))
        stage.runner.read_seconds = 0.0
        for _ in range(2 * LOOKS_AT_ONCE):
            with pytest.raises(TimedOut):
                await stage.runner.listing(stage.root)
    stage.runner.read_seconds = 5.0
    assert await stage.runner.listing(stage.root) == ()
    answered.set()


async def test_the_time_of_a_start_begins_when_its_turn_comes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk is not blamed for the time in which others had their turn."""
    turn = asyncio.Semaphore(1)
    runner = LocalRunner("prod/web-1", stage.runner.guard, limit=turn)
    monkeypatch.setattr(runner, "_start_one", lambda _disk, _step: DetachedState(started=True))
    runner.step_seconds = 0.0
    await turn.acquire()
    starting = asyncio.ensure_future(runner.start(Detached("op/1", stage.root / "ops", Command(("true",)))))
    await asyncio.wait([starting], timeout=0.02)
    assert not starting.done()
    turn.release()
    with pytest.raises(TimedOut):
        await starting


async def test_modes_are_as_asked_whatever_the_umask(stage: Stage) -> None:
    before = os.umask(0o077)
    try:
        await stage.runner.change([MakeFolder(stage.root / "d", mode=0o755), PutFile(stage.root / "d" / "f", b"", mode=0o640)])
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path(stage.root / "d").stat().st_mode) == 0o755
    assert stat.S_IMODE(Path(stage.root / "d" / "f").stat().st_mode) == 0o640


async def test_a_folder_of_our_own_is_not_taken_from_others(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In `/var/tmp` anybody may have made it first, and would own the sockets that are put there."""
    (tmp_path / "theirs").mkdir(mode=0o777)
    Path(stage.root / "link").symlink_to(tmp_path / "theirs")
    with pytest.raises(ApplyFailed, match=f"it is a link to {tmp_path}/theirs"):
        await stage.runner.change([MakeFolder(stage.root / "link", 0o700, is_own=True)])
    await stage.runner.change([MakeFolder(stage.root / "folder", 0o700, is_own=True)])
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with pytest.raises(ApplyFailed, match="it belongs to the user with the id"):
        await stage.runner.change([MakeFolder(stage.root / "folder", 0o700, is_own=True)])
    assert stat.S_IMODE((tmp_path / "theirs").stat().st_mode) != 0o700


async def test_an_untouchable_path_that_is_itself_a_link_is_guarded_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "name").symlink_to(tmp_path / "real")
    guard = guard_for(HostPath(tmp_path), HostPath(tmp_path / "name"))
    runner = LocalRunner("prod/web-1", guard)
    with pytest.raises(NotOurs, match=r"untouchable\.paths"):
        await runner.change([PutFile(HostPath(tmp_path / "real" / "x"), b"")])


async def test_a_root_that_is_reached_through_a_link_is_a_root(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    root = HostPath(tmp_path / "root")
    runner = LocalRunner("dev/all-1", Guard("dev/all-1", roots=(root,)))
    await runner.change([PutFile(root / "x", b"here")])
    assert (tmp_path / "real" / "x").read_bytes() == b"here"


async def test_a_link_in_the_root_does_not_lead_out_of_the_root(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    Path(stage.root / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotOurs, match="lies outside"):
        await stage.runner.change([PutFile(stage.root / "out" / "x", b"")])


async def test_what_a_killed_controller_left_beside_a_file_is_swept_away(stage: Stage) -> None:
    ours, dead = Path(stage.root / f".f.manor-{os.getpid()}-7"), Path(stage.root / ".f.manor-4194305-7")
    ours.write_text("")
    dead.write_text("half")
    await stage.runner.change([PutFile(stage.root / "f", b"")])
    assert await stage.runner.listing(stage.root) == (ours.name, "f")


async def test_a_missing_parent_is_said(stage: Stage) -> None:
    with pytest.raises(ApplyFailed, match=r"prod/web-1: PutFile .*/no/f: No such file or directory; it is as it was"):
        await stage.runner.change([PutFile(stage.root / "no" / "f", b"")])


async def test_a_pipe_is_not_read(stage: Stage) -> None:
    os.mkfifo(stage.root / "pipe")
    assert await stage.runner.read([stage.root / "pipe"]) == {}
    assert await stage.runner.digest([stage.root / "pipe"]) == {stage.root / "pipe": "other"}


async def test_cancelled_work_in_a_thread_is_over_when_its_task_is() -> None:
    began, go, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go.wait(5)
        done.set()

    task = asyncio.ensure_future(in_thread(work))
    await asyncio.to_thread(began.wait, 5)
    task.cancel()
    asyncio.get_running_loop().call_soon(go.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done.is_set()


@dataclass
class SlowDisk(Disk):
    """Holds one kind of call for a while, before it is made."""

    at: str
    began: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def hold(self, name: str) -> None:
        if name == self.at:
            self.began.set()
            self.go.wait(5)

    def write(self, path: Path, chunks: Iterable[bytes], mode: int) -> None:
        self.hold("write")
        super().write(path, chunks, mode)

    def link(self, path: Path, target: str) -> None:
        self.hold("link")
        super().link(path, target)

    def rename(self, source: Path, target: Path) -> None:
        self.hold("rename")
        super().rename(source, target)

    def sync_all(self, path: Path) -> None:
        self.hold("sync_all")
        super().sync_all(path)

    def unlink(self, path: Path) -> None:
        self.hold("unlink")
        super().unlink(path)


@dataclass(frozen=True)
class Held:
    """A runner on a slow disk, with a file, a folder and an archive there."""

    runner: LocalRunner
    disk: SlowDisk
    root: Path
    tree: tuple[str, str]

    def act(self, name: str) -> FileAct:
        """Return an act of each kind on what is there."""
        root = HostPath(self.root)
        acts: dict[str, FileAct] = {
            "file":   PutFile(root / "file", b"new"),
            "link":   PutLink(root / "file", HostPath("folder")),
            "tree":   PutTree(root / "tree", *self.tree),
            "remove": Remove(root / "file"),
            "folder": Remove(root / "folder"),
        }  # fmt: skip
        return acts[name]

    def found(self) -> dict[str, str]:
        """Return what is there, hidden traces too."""
        return {path.name: "folder" if path.is_dir() else path.read_text() for path in sorted(self.root.iterdir())}


HELD = {"file": "old", "folder": "folder"}


@pytest.fixture
def held(tmp_path: Path, request: pytest.FixtureRequest) -> Held:
    root, disk = tmp_path / "root", SlowDisk(request.param)
    (root / "folder").mkdir(parents=True)
    (root / "file").write_text("old")
    runner = LocalRunner("prod/web-1", Guard("prod/web-1", roots=(HostPath(root),)), disk=disk)
    return Held(runner, disk, root, archive(tmp_path, {"a": b"1", "b": b"2"}))


def left_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "manor-read"]


async def begin(held: Held, name: str) -> asyncio.Task[None]:
    """Begin an act and one after it; return when the first is held."""
    changing = asyncio.ensure_future(held.runner.change([held.act(name), PutFile(HostPath(held.root / "after"), b"")]))
    await asyncio.to_thread(held.disk.began.wait, 5)
    return changing


WHEN = [
    ("file",   "write",    HELD),
    ("file",   "rename",   {**HELD, "file": "new"}),
    ("link",   "link",     HELD),
    ("tree",   "write",    HELD),
    ("tree",   "sync_all", HELD),
    ("tree",   "rename",   {**HELD, "tree": "folder"}),
    ("remove", "unlink",   {"folder": "folder"}),
    ("folder", "rename",   {"file": "old"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "held", "expected"), WHEN, indirect=["held"])
async def test_a_cancelled_act_is_done_wholly_or_not_at_all_and_the_next_is_not_begun(held: Held, name: str, expected: dict[str, str]) -> None:
    """The call that is under way is waited for: it is done, and nothing but tidying comes after it."""
    changing = await begin(held, name)
    changing.cancel()
    asyncio.get_running_loop().call_soon(held.disk.go.set)
    with pytest.raises(asyncio.CancelledError):
        await changing
    assert held.found() == expected


@pytest.mark.parametrize(("name", "held", "expected"), WHEN, indirect=["held"])
async def test_what_was_given_up_does_nothing_more_when_the_disk_answers_again(held: Held, name: str, expected: dict[str, str]) -> None:
    held.runner.leave_seconds = 0.0
    changing = await begin(held, name)
    changing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await changing
    assert "after" not in held.found()
    held.disk.go.set()
    for thread in left_threads():
        thread.join(5)
    assert held.found() == expected
