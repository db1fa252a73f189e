"""Finds what an estate left running without a reason, by looking at the machine and not by asking Manor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A live process of an estate."""

    pid: int
    parent: int
    group: int
    instance: str
    """Its MANOR_INSTANCE; empty: none."""
    is_waiting: bool
    """It is a wrapper that waits for another."""
    words: str


def processes_of(folder: Path) -> list[Process]:
    """Return the live processes that carry an instance of the estate, or name its folder."""
    groups = dict(noted_groups(folder))
    known = [process if process.instance else replace(process, instance=groups.get(process.group, "")) for process in every_process()]
    return [process for process in known if str(folder) in process.instance or str(folder) in process.words]


def noted_groups(folder: Path) -> Iterator[tuple[int, str]]:
    """Yield the process group and instance of each last start, for programs that wipe their environment, as nginx does."""
    for note in folder.rglob(".*.start"):
        words = note.read_text().split()
        if not words:  # just being written
            continue
        _, _, _, group, _, instance = words
        yield int(group), instance


def every_process() -> Iterator[Process]:
    """Yield what can be read of each process."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text().rpartition(") ")[2].split()
            environ = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
            words = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except (OSError, ProcessLookupError):
            continue
        if stat[0] != "Z":
            named = dict(line.partition("=")[::2] for line in environ)
            yield Process(int(entry.name), int(stat[1]), int(stat[2]), named.get("MANOR_INSTANCE", ""), "MANOR_WAITING" in named, words)


def instances_of(folder: Path) -> dict[str, list[Process]]:
    """Return the processes of each instance of an estate."""
    found: dict[str, list[Process]] = {}
    for process in processes_of(folder):
        if process.instance:
            found.setdefault(process.instance, []).append(process)
    return found


def pids_of(folder: Path, host: str, program: str) -> list[int]:
    """Return the pids of one program on one host, its outermost first; wrappers that wait are none of them."""
    mine = [process for process in processes_of(folder) if process.instance.endswith(f"/{host}:{program}") and not process.is_waiting]
    known = {process.pid for process in mine}
    return [process.pid for process in sorted(mine, key=lambda process: (process.parent in known, process.pid))]


def supervisor_of(folder: Path, host: str) -> int:
    """Return the pid of a host's supervisord."""
    return next(process.pid for process in processes_of(folder) if f"/{host}/etc/supervisor/" in process.words and "supervisord" in process.words)


def orphans_of(folder: Path) -> list[str]:
    """Return what runs without a reason: not wanted, not under its supervisor, twice, or a process of an operation that has ended.

    A test's own client is none of it.
    """
    everything = processes_of(folder)
    supervisors = {process.pid for process in everything if "supervisor.supervisord" in process.words}
    unnamed = [process for process in everything if not process.instance and process.pid not in supervisors and not process.words.startswith("curl ")]
    found = [f"{process.pid} {process.words}" for process in unnamed]
    for instance, processes in instances_of(folder).items():
        found += [f"{instance}: {why}" for why in problems_of(instance, processes, supervisors)]
    return found


def problems_of(instance: str, processes: list[Process], supervisors: set[int]) -> Iterator[str]:
    """Yield what is wrong with the processes of one instance."""
    root, _, program = instance.rpartition(":")
    service, _, slot = program.rpartition("-")
    pids = {process.pid for process in processes}
    roots = [process for process in processes if process.parent not in pids]
    programs = [process for process in roots if not process.is_waiting]
    if not program.startswith("tier-") and not (Path(root) / "slots" / service / f"{slot}.wanted").exists():
        yield f"runs and is not wanted: {processes}"
    if len(programs) != 1:
        yield f"{len(programs)} programs: {processes}"
    if not any(process.parent in supervisors for process in roots):
        yield f"is under no supervisor: {processes}"
