"""Whether a host has room for a release: disk, files and memory, all read by one command (docs/rollout.md, preflight).

Invariant: reads only; what a host can't say (a file system without a count of files) stands in nobody's way.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from manor.errors import ManorError
from manor.execution.values import Command, Completed, HostPath, Touch
from manor.reconcile.site import Site

SPARE_BYTES = 32 * 1024**2
SPARE_FILES = 200
"""What a release may write beside itself before anybody looks again: logs, state files, journals."""
BLOCK_BYTES = 4096
MIB = 1024**2
LOOK = """\
folder=$1
while [ ! -e "$folder" ]; do folder=${folder%/*}; folder=${folder:-/}; done
stat -f -c 'disk %a %S %c %d' -- "$folder" || exit
[ ! -d "$2" ] || echo placed
echo "page $(getconf PAGESIZE || echo 4096)"
grep '^MemAvailable:' /proc/meminfo
cat /proc/[0-9]*/stat 2> /dev/null || :
"""
"""Field numbers are those of proc(5): after the name in brackets the third is the state; 5 the process group, 24 the resident pages."""


@dataclass(frozen=True)
class Size:
    """What a release takes on a disk."""

    size_bytes: int
    files: int


@dataclass(frozen=True)
class Room:
    """What a host has."""

    disk_bytes: int
    files: int | None
    """How many more can be made; None: the file system does not say."""
    memory_bytes: int | None
    is_placed: bool = False
    """The release is unpacked there already."""
    resident: Mapping[int, int] = field(default_factory=dict)
    """Process group → bytes that it has in memory; what processes share counts for each."""


@dataclass(frozen=True)
class Need:
    """What a rollout needs of a host."""

    size: Size
    memory_bytes: int = 0
    memory_from: str = ""
    """For people: where that number comes from."""


async def hosts_without(site: Site, service: str, release: str, hosts: Iterable[str]) -> tuple[str, ...]:
    """Return the hosts that have not unpacked a release (its short id): those need its artifact. Raises Unreachable, NotOurs."""
    found = []
    for name in dict.fromkeys(hosts):
        place = site.hosts[name].layout.release(service, release)
        if place.name not in await site.runners[name].listing(place.parent):
            found.append(name)
    return tuple(found)


def size_of(archive: Path) -> Size:
    """Return what an artifact takes unpacked. Raises ManorError."""
    try:
        with tarfile.open(archive) as members:
            sizes = [member.size for member in members]
    except (OSError, tarfile.TarError) as error:
        raise ManorError(f"{archive}: can't be read: {error}") from error
    return Size(sum(-(-size // BLOCK_BYTES) * BLOCK_BYTES for size in sizes), len(sizes))


def look_for_room(service: str, releases: HostPath, release: HostPath) -> Command:
    """Return the command that reads what a host has: room in the folder of releases, memory, what processes use."""
    touch = Touch(f"service/{service}", paths=(releases, release))
    return Command(("sh", "-c", LOOK, "sh", str(releases), str(release)), touch)


def parse_room(completed: Completed) -> Room:
    """Return what it read. Raises ManorError."""
    lines = [line.split() for line in completed.text.splitlines() if line.strip()]
    facts = {words[0]: words[1:] for words in lines if not words[0].isdigit()}
    try:
        free, block, all_files, free_files = map(int, facts["disk"])
        page, memory = int(facts["page"][0]), facts.get("MemAvailable:")
    except (KeyError, ValueError, IndexError) as error:
        raise ManorError(f"what disk and memory there is could not be read: {completed.text[:80]!r}") from error
    return Room(free * block, free_files if all_files else None, int(memory[0]) * 1024 if memory else None, "placed" in facts, residents(completed.text, page))


def residents(text: str, page_bytes: int) -> Mapping[int, int]:
    """Return what each process group has in memory, from lines of /proc/*/stat; a name may hold blanks and brackets."""
    found: dict[int, int] = {}
    for line in text.splitlines():
        words = line.rpartition(") ")[2].split() if line[:1].isdigit() else []
        if len(words) > 21:
            found[int(words[2])] = found.get(int(words[2]), 0) + int(words[21]) * page_bytes
    return found


def no_room(host: str, folder: HostPath, room: Room, need: Need) -> Sequence[str]:
    """Return what a host lacks: what there is, what is needed, what to do."""
    size = Size(0, 0) if room.is_placed else need.size
    disk, files = size.size_bytes + SPARE_BYTES, size.files + SPARE_FILES
    problems = []
    if room.disk_bytes < disk:
        whole = f"{mib(size.size_bytes)} for the release and {mib(SPARE_BYTES)} to spare"
        problems.append(f"{host}: {mib(room.disk_bytes)} of disk are free in {folder}, {mib(disk)} are needed ({whole}); remove what is not needed there")
    if room.files is not None and room.files < files:
        problems.append(f"{host}: {room.files} more files can be made in {folder}, {files} are needed; remove what is not needed there")
    if room.memory_bytes is not None and need.memory_bytes and room.memory_bytes < need.memory_bytes:
        has, wants = mib(room.memory_bytes), mib(need.memory_bytes)
        problems.append(f"{host}: {has} of memory are available, {wants} are needed ({need.memory_from}); end something there or give the host more")
    return problems


def mib(size_bytes: int) -> str:
    """Return a size for people."""
    return f"{size_bytes / MIB:.0f} MiB"
