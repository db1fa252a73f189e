"""What every runner must do, whatever it acts on; each runner's own test module inherits the class and gives it a runner."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from manor.errors import ApplyFailed, CommandFailed, NotOurs, Refused
from manor.execution.base import Runner
from manor.execution.guard import Guard, Manage, Untouchable
from manor.execution.values import (
    Command,
    Detached,
    DetachedState,
    Effect,
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


class RunnerContract:
    """The contract. A subclass has a fixture `stage`."""

    async def test_a_file_is_put_read_and_hashed(self, stage: Stage) -> None:
        path = stage.root / "etc" / "a.conf"
        await stage.runner.change([MakeFolder(path.parent), PutFile(path, b"one"), PutFile(path, b"two", mode=0o600)])
        assert await stage.runner.read([path, stage.root / "none"]) == {path: b"two"}
        assert await stage.runner.digest([path, path.parent, stage.root / "none"]) == {path: hashlib.sha256(b"two").hexdigest(), path.parent: "folder"}
        assert await stage.runner.listing(path.parent) == ("a.conf",)
        assert await stage.runner.listing(stage.root / "none") == ()

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
        assert await stage.runner.listing(stage.foreign) == ()

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
