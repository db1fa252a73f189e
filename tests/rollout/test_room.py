"""Whether a host has room for a release is found out before anything is touched (docs/rollout.md, preflight)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from manor.errors import ManorError, NotOurs, Unreachable
from manor.execution.guard import Guard, Untouchable
from manor.execution.local import LocalRunner
from manor.execution.values import Completed, HostPath, MakeFolder
from manor.rollout.fleet import SlotRef
from manor.rollout.room import MIB, Need, Room, Size, look_for_room, no_room, parse_room, size_of
from tests.reconcile.toys import ESTATE, ROOT, Toy, wiring_of
from tests.rollout.model import ModelClock, World
from tests.rollout.running import InlineStore
from tests.rollout.test_untouchable import fleet_of

SLOT = SlotRef("echo", "web-1", "b")
FOLDER = HostPath("/srv/releases")
PLENTY = Room(100 * MIB, 5000, 1000 * MIB)
RELEASE = Need(Size(50 * MIB, 900), 300 * MIB, "run.limits.memory")
STAT = "7 (my (odd) name) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 99 1000 {pages} 1 0 0"


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Toy]:
    with InlineStore.open(tmp_path / "state", ModelClock(World(1, 1, {}))) as store:
        yield idle(Toy(wiring_of(tmp_path), store))


def idle(toy: Toy) -> Toy:
    """Have nothing listen in the slots."""
    for port in (8300, 8301):
        toy.runner.reply(str(port), Unreachable("refused"))
    return toy


@pytest.mark.parametrize(
    ("room", "told"),
    [
        (PLENTY, ""),
        (replace(PLENTY, files=None, memory_bytes=None), ""),
        (
            replace(PLENTY, disk_bytes=60 * MIB),
            "web-1: 60 MiB of disk are free in /srv/releases, 82 MiB are needed (50 MiB for the release and 32 MiB to spare); remove what is not needed there",
        ),
        (replace(PLENTY, disk_bytes=60 * MIB, is_placed=True), ""),
        (replace(PLENTY, files=1000), "web-1: 1000 more files can be made in /srv/releases, 1100 are needed; remove what is not needed there"),
        (
            replace(PLENTY, memory_bytes=200 * MIB),
            "web-1: 200 MiB of memory are available, 300 MiB are needed (run.limits.memory); end something there or give the host more",
        ),
    ],
    ids=["enough", "does-not-say", "disk", "there-already", "files", "memory"],
)
def test_what_a_host_lacks_is_told_with_numbers_and_what_to_do(room: Room, told: str) -> None:
    assert "\n".join(no_room("web-1", FOLDER, room, RELEASE)) == told


def test_what_the_command_reads() -> None:
    room = parse_room(Completed(0, f"disk 1000 4096 0 0\nplaced\npage 4096\nMemAvailable: 2048 kB\n{STAT.format(pages=10)}\n{STAT.format(pages=5)}\n".encode()))
    assert room == Room(1000 * 4096, None, 2 * MIB, is_placed=True, resident={7: 15 * 4096})
    with pytest.raises(ManorError, match="what disk and memory there is could not be read: 'sorry'"):
        parse_room(Completed(0, b"sorry"))


async def test_preflight_finds_a_full_disk_and_touches_nothing(toy: Toy, tmp_path: Path) -> None:
    fleet, release = fleet_of(toy, tmp_path)
    toy.has_room(disk_bytes=3 * MIB, files=7)
    problems = await fleet.preflight((SLOT,), release)
    assert [problem.partition(" in ")[0] for problem in problems] == ["web-1: 3 MiB of disk are free", "web-1: 7 more files can be made"]
    assert str(ROOT / "releases" / "echo") in problems[0]
    assert not toy.runner.files.listing(ROOT)


async def test_an_artifact_that_is_gone_stands_in_the_way_only_where_the_release_is_not_unpacked(toy: Toy, tmp_path: Path) -> None:
    fleet, release = fleet_of(toy, tmp_path)
    chosen = fleet.catalog[release]
    (fleet.artifacts / f"{chosen.artifact}.tar").unlink()
    assert await fleet.preflight((SLOT,), release) == (f"the artifact of {chosen.short} is not in the store, and not unpacked on web-1",)
    await toy.runner.change([MakeFolder(toy.site.hosts["web-1"].layout.release("echo", chosen.short))])
    assert await fleet.preflight((SLOT,), release) == ()


async def test_one_command_a_host(toy: Toy, tmp_path: Path) -> None:
    fleet, release = fleet_of(toy, tmp_path)
    assert await fleet.preflight((SLOT,), release) == ()
    assert len([shown for shown in toy.runner.shown if "stat -f" in shown]) == 1


async def test_without_a_limit_as_much_memory_is_needed_as_the_running_slot_uses(toy: Toy, tmp_path: Path) -> None:
    fleet, release = fleet_of(toy, tmp_path)
    toy.runner.reply("status", Completed(0, b'{"echo-a": "running", "echo-b": "stopped"}'))
    toy.has_room(memory_bytes=300 * MIB, stat=STAT.format(pages=400 * MIB // 4096).replace(" 1 7 7 ", " 1 1 1 "))
    (problem,) = await fleet.preflight((SLOT,), release)
    assert problem.startswith("web-1: 300 MiB of memory are available, 400 MiB are needed (as much as the running slot uses)")


@pytest.mark.parametrize(("strategy", "problems"), [("rolling", 1), ("interrupt, longest_outage: 60s", 0)])
async def test_with_one_slot_the_old_programs_memory_is_free_before(tmp_path: Path, strategy: str, problems: int) -> None:
    limited = ESTATE.replace("port: 8300}", f"port: 8300, limits: {{memory: 500MiB}}}}\n    rollout: {{strategy: {strategy}}}")
    with InlineStore.open(tmp_path / "state", ModelClock(World(1, 1, {}))) as store:
        toy = idle(Toy(wiring_of(tmp_path, limited), store))
        fleet, release = fleet_of(toy, tmp_path)
        toy.runner.reply("status", Completed(0, b'{"echo-a": "running", "echo-b": "stopped"}'))
        toy.has_room(memory_bytes=300 * MIB, stat=STAT.format(pages=400 * MIB // 4096).replace(" 1 7 7 ", " 1 1 1 "))
        assert len(await fleet.preflight((replace(SLOT, slot="a"),), release)) == problems


async def test_what_is_not_ours_is_not_looked_at(toy: Toy, tmp_path: Path) -> None:
    fleet, release = fleet_of(toy, tmp_path)
    toy.runner.guard = replace(toy.runner.guard, untouchable=Untouchable(paths=(ROOT / "releases",)))
    with pytest.raises(NotOurs, match=r"untouchable.paths: /srv/manor/web-1/releases is not Manor's to touch"):
        await fleet.preflight((SLOT,), release)


def test_an_artifacts_size_is_counted_in_blocks_and_one_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(b"no archive")
    with pytest.raises(ManorError, match="can't be read"):
        size_of(tmp_path / "bad.tar")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one").write_bytes(b"1")
    shutil.make_archive(str(tmp_path / "good"), "tar", tmp_path / "in")
    assert size_of(tmp_path / "good.tar") == Size(4096, 2)


@pytest.mark.native
async def test_the_command_on_this_machine(tmp_path: Path) -> None:
    runner = LocalRunner("prod/here", Guard("prod/here"))
    release = HostPath(tmp_path) / "releases" / "echo" / "abc"
    process = await asyncio.create_subprocess_exec("sleep", "60", start_new_session=True)
    try:
        room = parse_room(await runner.run(look_for_room("echo", release.parent, release)))
        assert abs(room.disk_bytes - shutil.disk_usage(tmp_path).free) < 512 * MIB
        assert not room.is_placed
        assert room.memory_bytes
        assert room.memory_bytes > MIB
        assert 0 < room.resident[process.pid] < 64 * MIB
        Path(release).mkdir(parents=True)
        assert parse_room(await runner.run(look_for_room("echo", release.parent, release))).is_placed
    finally:
        process.kill()
        await process.wait()
