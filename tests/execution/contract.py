"""What every runner must do, whatever it acts on; each runner's own test module inherits the class and gives it a runner."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import pytest

from manor.errors import ApplyFailed, CommandFailed, NotOurs, Refused, TimedOut
from manor.execution.base import Runner
from manor.execution.guard import Guard, Manage, Untouchable
from manor.execution.values import (
    Command,
    Detached,
    DetachedState,
    Effect,
    FileAct,
    HostPath,
    HttpRequest,
    MakeFolder,
    PutFile,
    PutLink,
    PutTree,
    Remove,
    Secret,
    SocketCommand,
    Touch,
)


@dataclass(frozen=True)
class Stage:
    """A runner, the folder in which it may write, and a folder beside it that is not Manor's."""

    runner: Runner
    root: HostPath
    foreign: HostPath


def guard_for(root: HostPath, foreign: HostPath, manage: Manage = Manage.FULL) -> Guard:
    """Return a guard that knows one of each kind of foreign thing."""
    untouchable = Untouchable(paths=(foreign,), ports=(8005,), units=("legacy.service",), users=("legacy",), containers=("legacy-1",))
    return Guard("prod/web-1", manage=manage, untouchable=untouchable, roots=(root,))


def archive(folder: Path, members: dict[str, bytes | str], name: str = "tree.tar") -> tuple[str, str]:
    """Write a tar archive (bytes: a file; `-> x`: a link; `= x`: a hard link; `dev`: a device) and return its path and sha256."""
    path = folder / name
    with tarfile.open(path, "w") as tar:
        for member, content in members.items():
            info = tarfile.TarInfo(member)
            if isinstance(content, bytes):
                info.size = len(content)
            elif content == "dev":
                info.type = tarfile.CHRTYPE
            else:
                info.type = tarfile.SYMTYPE if content.startswith("-> ") else tarfile.LNKTYPE
                info.linkname = content.split(" ", 1)[1]
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return str(path), hashlib.sha256(path.read_bytes()).hexdigest()


UNSAFE = {
    "absolute":          {"/etc/passwd": b"x"},
    "dots":              {"a/../../x": b"x"},
    "link outside":      {"a": "-> ../../x"},
    "absolute link":     {"a": "-> /etc/passwd"},
    "hard link outside": {"a": "= ../x"},
    "device":            {"a": "dev"},
}  # fmt: skip


def step_in(folder: HostPath) -> Detached:
    """Return a detached step that has this folder."""
    return Detached("k", folder, Command(("true",), Touch(subject="service/shop")))


Read: TypeAlias = Callable[[Runner, HostPath], Awaitable[object]]
READS: Mapping[str, Read] = {
    "read":    lambda runner, path: runner.read([path]),
    "digest":  lambda runner, path: runner.digest([path]),
    "listing": lambda runner, path: runner.listings([path]),
    "attach":  lambda runner, path: runner.attach(step_in(path)),
    "log":     lambda runner, path: runner.log(step_in(path)),
}  # fmt: skip
STEPS: Mapping[str, Read] = {
    "start":  lambda runner, path: runner.start(step_in(path)),
    "cancel": lambda runner, path: runner.cancel(step_in(path)),
}  # fmt: skip
BOUNDED = {**READS, **STEPS}
"""What ends in time with the same words."""
CHANGES: Mapping[str, Callable[[HostPath], FileAct]] = {
    "PutFile":    lambda path: PutFile(path, b"x"),
    "PutLink":    lambda path: PutLink(path, HostPath("x")),
    "PutTree":    lambda path: PutTree(path, "x", "0", timeout_seconds=0),
    "MakeFolder": MakeFolder,
    "Remove":     lambda path: Remove(path, timeout_seconds=0),
}  # fmt: skip
JUDGED: Mapping[str, Read] = {**READS, "ended": lambda runner, path: runner.ended(step_in(path))}
"""The same, and the one read that may last as long as what it waits for."""


class RunnerContract:
    """The contract. A subclass has a fixture `stage`."""

    async def test_a_file_is_put_read_and_hashed(self, stage: Stage) -> None:
        path = stage.root / "etc" / "a.conf"
        await stage.runner.change([MakeFolder(path.parent), PutFile(path, b"one"), PutFile(path, b"two", mode=0o600)])
        assert await stage.runner.read([path, stage.root / "none"]) == {path: b"two"}
        assert await stage.runner.digest([path, path.parent, stage.root / "none"]) == {path: hashlib.sha256(b"two").hexdigest(), path.parent: "folder"}
        assert await stage.runner.listing(path.parent) == ("a.conf",)
        assert await stage.runner.listing(stage.root / "none") == ()

    async def test_many_folders_are_listed_at_once(self, stage: Stage) -> None:
        one, two, none = (stage.root / name for name in ("one", "two", "none"))
        await stage.runner.change([MakeFolder(one), MakeFolder(two), PutFile(one / "b", b""), PutFile(one / "a", b"")])
        assert await stage.runner.listings([one, two, none]) == {one: ("a", "b"), two: (), none: ()}
        assert await stage.runner.listings([]) == {}

    async def test_a_link_is_switched_and_read_through(self, stage: Stage) -> None:
        one, two, link = stage.root / "one", stage.root / "two", stage.root / "current"
        await stage.runner.change([PutFile(one, b"1"), PutFile(two, b"2"), PutLink(link, HostPath("one")), PutLink(link, two)])
        assert await stage.runner.read([link]) == {link: b"2"}
        assert await stage.runner.digest([link]) == {link: f"-> {two}"}
        await stage.runner.change([Remove(two)])
        assert await stage.runner.read([link]) == {}
        assert await stage.runner.digest([link]) == {link: f"-> {two}"}

    async def test_what_is_removed_is_gone_and_may_be_removed_again(self, stage: Stage) -> None:
        folder = stage.root / "a"
        await stage.runner.change([MakeFolder(folder / "b"), PutFile(folder / "b" / "c", b""), Remove(folder), Remove(folder)])
        assert await stage.runner.listing(stage.root) == ()

    async def test_a_file_does_not_replace_a_folder(self, stage: Stage) -> None:
        await stage.runner.change([MakeFolder(stage.root / "a")])
        with pytest.raises(ApplyFailed, match=r"PutFile .*/a: Is a directory; it is as it was"):
            await stage.runner.change([PutFile(stage.root / "a", b"x")])
        assert await stage.runner.listing(stage.root) == ("a",)

    async def test_a_tree_is_unpacked_once(self, stage: Stage, tmp_path: Path) -> None:
        path, digest = archive(tmp_path, {"bin/run": b"go", "lib/x": b"y", "bin/again": "= bin/run", "link": "-> bin/run"})
        tree = PutTree(stage.root / "release", path, digest)
        await stage.runner.change([tree, tree])
        names = [stage.root / "release" / name for name in ("bin/run", "lib/x", "bin/again", "link")]
        assert list((await stage.runner.read(names)).values()) == [b"go", b"y", b"go", b"go"]
        assert await stage.runner.listing(stage.root) == ("release",)

    @pytest.mark.parametrize("members", UNSAFE.values(), ids=UNSAFE.keys())
    async def test_an_unsafe_tree_is_refused_whole(self, stage: Stage, tmp_path: Path, members: dict[str, bytes | str]) -> None:
        path, digest = archive(tmp_path, {"good": b"x", **members})
        with pytest.raises(Refused, match="nothing was unpacked"):
            await stage.runner.change([PutTree(stage.root / "release", path, digest)])
        assert await stage.runner.listing(stage.root) == ()

    async def test_another_archive_than_promised_is_refused(self, stage: Stage, tmp_path: Path) -> None:
        path, _ = archive(tmp_path, {"good": b"x"})
        with pytest.raises(Refused, match=r"sha256 is .*, expected 00"):
            await stage.runner.change([PutTree(stage.root / "release", path, "00" * 32)])
        assert await stage.runner.listing(stage.root) == ()

    async def test_foreign_things_stop_every_kind_of_act_before_anything_is_done(self, stage: Stage) -> None:
        good, bad = PutFile(stage.root / "good", b""), stage.foreign / "x"
        for act in (PutFile(bad, b""), PutLink(bad, good.path), PutTree(bad, "x", "0"), MakeFolder(bad), Remove(bad), PutLink(stage.root / "link", bad)):
            with pytest.raises(NotOurs, match=r"untouchable\.paths"):
                await stage.runner.change([good, act])
        for reading in (Command(("ls", str(bad))), SocketCommand(bad, "show stat"), HttpRequest("GET", "http://x/", socket=bad)):
            with pytest.raises(NotOurs, match=r"untouchable\.paths"):
                await stage.runner.carry_out(reading)
        step = Detached("k", bad, Command(("true",)))
        for call in (stage.runner.start, stage.runner.cancel):
            with pytest.raises(NotOurs, match=r"untouchable\.paths"):
                await call(step)
        assert await stage.runner.listing(stage.root) == ()

    async def test_a_link_is_no_way_round_the_guard(self, stage: Stage) -> None:
        await self.lay_link(stage, "innocent")
        for act in (PutFile(stage.root / "innocent" / "x", b""), MakeFolder(stage.root / "innocent" / "y" / "z"), Remove(stage.root / "innocent" / "x")):
            with pytest.raises(NotOurs, match=r"untouchable\.paths"):
                await stage.runner.change([act])
        stage.runner.guard = replace(stage.runner.guard, untouchable=Untouchable())
        assert await stage.runner.listing(stage.foreign) == ()

    @pytest.mark.parametrize("below", [".", "x", "../foreign/x"])
    @pytest.mark.parametrize("name", JUDGED)
    async def test_no_read_looks_at_what_is_untouchable(self, stage: Stage, name: str, below: str) -> None:
        folder = stage.foreign.parent / "foreign"
        stage.runner.guard = guard_for(stage.root, folder)
        with pytest.raises(NotOurs, match=rf"^prod/web-1: untouchable\.paths: {folder} is not Manor's to touch \(asked for {folder}.*\); nothing was done$"):
            await JUDGED[name](stage.runner, folder / below)

    @pytest.mark.parametrize("name", READS)
    async def test_what_holds_something_untouchable_may_be_looked_at(self, stage: Stage, name: str) -> None:
        read = await READS[name](stage.runner, stage.foreign.parent)
        assert read is not None, "it was looked at, and not refused"

    @pytest.mark.parametrize("name", ["read", "digest", "listing"])
    async def test_a_link_is_no_way_round_for_reads(self, stage: Stage, name: str) -> None:
        await self.lay_link(stage, "innocent")
        with pytest.raises(NotOurs, match=r"untouchable\.paths"):
            await READS[name](stage.runner, stage.root / "innocent" / "x")
        assert await stage.runner.digest([stage.root / "innocent"]) == {stage.root / "innocent": f"-> {stage.foreign}"}

    @pytest.mark.parametrize(("manage", "is_allowed"), [(Manage.NEVER, False), (Manage.OBSERVE, True)])
    @pytest.mark.parametrize("name", READS)
    async def test_reads_need_observe_on_the_host(self, stage: Stage, name: str, manage: Manage, is_allowed: bool) -> None:
        stage.runner.guard = replace(stage.runner.guard, manage=manage)
        if is_allowed:
            await READS[name](stage.runner, stage.root)
            return
        with pytest.raises(NotOurs, match=r"^prod/web-1: .*: `manage: never` allows no act of the kind read; nothing was done$"):
            await READS[name](stage.runner, stage.root)

    @pytest.mark.parametrize("name", ["attach", "log", "ended"])
    async def test_a_step_of_a_subject_that_is_never_managed_is_not_looked_at(self, stage: Stage, name: str) -> None:
        stage.runner.guard = replace(stage.runner.guard, subjects={"service/shop": Manage.NEVER})
        with pytest.raises(NotOurs, match=r"^prod/web-1: service/shop: `manage: never`"):
            await JUDGED[name](stage.runner, stage.root)

    @pytest.mark.parametrize("name", BOUNDED)
    async def test_a_read_or_a_step_that_hangs_is_given_up_in_time(self, stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        release = self.hang(stage, monkeypatch)
        stage.runner.read_seconds = stage.runner.step_seconds = 0.0
        try:
            with pytest.raises(TimedOut) as late:
                await BOUNDED[name](stage.runner, stage.root / "x")
        finally:
            release()
        assert str(late.value) == f"prod/web-1: {name} {stage.root / 'x'}: no answer within 0 s; is the disk or share that it lies on still there?"
        assert late.value.exit_code == 8

    @pytest.mark.parametrize("name", BOUNDED)
    async def test_a_read_or_a_step_that_hangs_is_over_when_it_is_cancelled(self, stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        release = self.hang(stage, monkeypatch)
        reading = asyncio.ensure_future(BOUNDED[name](stage.runner, stage.root / "x"))
        try:
            await asyncio.wait([reading], timeout=0.02)
            assert not reading.done()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        finally:
            release()

    @pytest.mark.parametrize("name", CHANGES)
    async def test_a_change_that_hangs_is_given_up_in_time(self, stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        stage.runner.change_seconds = 0.0
        with monkeypatch.context() as patch:
            release = self.hang(stage, patch)
            try:
                with pytest.raises(TimedOut) as late:
                    await stage.runner.change([CHANGES[name](stage.root / "x"), PutFile(stage.root / "y", b"")])
            finally:
                release()
        assert str(late.value) == (
            f"prod/web-1: {name} {stage.root / 'x'}: not done within 0 s; is the disk or share that it lies on still there? "
            "The call that hangs may still come through, and nothing after it"
        )
        assert late.value.exit_code == 8
        assert await stage.runner.listing(stage.root) == ()

    async def test_each_act_has_its_own_time_and_trees_have_more(self, stage: Stage) -> None:
        stage.runner.change_seconds = 7.0
        acts = (PutFile(stage.root, b""), PutTree(stage.root, "x", "0", timeout_seconds=900.0), Remove(stage.root, timeout_seconds=400.0))
        assert [stage.runner.seconds_for(act) for act in acts] == [7.0, 907.0, 407.0]

    @pytest.mark.parametrize("name", CHANGES)
    async def test_a_cancelled_change_begins_no_other_act(self, stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            release = self.hang(stage, patch)
            changing = asyncio.ensure_future(stage.runner.change([CHANGES[name](stage.root / "x"), PutFile(stage.root / "y", b"")]))
            try:
                await asyncio.wait([changing], timeout=0.02)
                assert not changing.done()
                changing.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await changing
            finally:
                release()
        assert await stage.runner.listing(stage.root) == ()

    def hang(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        """Have every read, file act and look at a step hang from now on; return what lets it go."""
        raise NotImplementedError

    async def lay_link(self, stage: Stage, name: str) -> None:
        """Lay a link in the root that leads to the foreign folder, behind the guard's back."""
        raise NotImplementedError


class CommandContract:
    """What every runner does with commands that it can really run (or has replies for)."""

    async def test_a_command_gives_its_output(self, stage: Stage) -> None:
        completed = await stage.runner.run(Command(("printf", "%s", "a b"), stdin=b""))
        assert (completed.code, completed.out) == (0, b"a b")

    async def test_a_failing_command_shows_itself_without_secrets(self, stage: Stage) -> None:
        command = Command(("sh", "-c", 'echo "no: $1 $TOKEN" >&2; exit 3', "sh", Secret("pass-1")), env={"TOKEN": Secret("pass-2")})
        with pytest.raises(CommandFailed) as caught:
            await stage.runner.run(command)
        assert caught.value.code == 3
        assert str(caught.value) == (
            "prod/web-1: `sh -c 'echo \"no: $1 $TOKEN\" >&2; exit 3' sh ***` ended with code 3\n    no: *** ***"
        )  # fmt: skip

    async def test_other_codes_may_be_fine(self, stage: Stage) -> None:
        completed = await stage.runner.run(Command(("sh", "-c", "exit 4"), ok_codes=frozenset({0, 4})))
        assert completed.code == 4

    async def test_a_detached_step_is_started_once_and_leaves_its_code_and_log(self, stage: Stage) -> None:
        step = Detached("k/1", stage.root / "ops" / "1", Command(("sh", "-c", "echo hello; exit 7"), touch=Touch(effect=Effect.FULL)))
        assert (await stage.runner.attach(step)).started is False
        assert (await stage.runner.start(step)).started
        state = await ended(stage.runner, step)
        assert (state.code, state.lost, state.timed_out, state.log_bytes) == (7, False, False, 6)
        assert await stage.runner.start(step) == state
        assert await stage.runner.cancel(step) == state
        assert (await stage.runner.log(step), await stage.runner.log(step, 4)) == (b"hello\n", b"o\n")


async def ended(runner: Runner, step: Detached, limit_seconds: float = 15.0) -> DetachedState:
    """Wait for the end of a step, a limited time, and return how it stands."""
    async with asyncio.timeout(limit_seconds):
        while True:
            state = await runner.attach(step)
            if state.code is not None or state.lost:
                return state
            await asyncio.sleep(0.01)
