"""Who holds a lease, and whether that process is provably gone.

Invariant: `is_gone` says yes only on proof: the same machine was booted since, or the process is not there any more.
Source: proc(5): `/proc/pid/stat` field 22 is the start time in ticks since boot, which a re-used pid does not share.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Holder:
    """One process on one machine, between two boots."""

    machine: str
    boot: str
    namespace: str
    """Of process ids: a container's pid 7 is not the machine's pid 7."""
    pid: int
    process_started: int
    """Ticks since boot."""


def this_process() -> Holder:
    """Return the holder that this process is."""
    boot = BOOT_ID.read_text().strip()
    return Holder(machine_id() or boot, boot, process_namespace(), os.getpid(), process_start(os.getpid()) or 0)


def is_gone(holder: Holder, me: Holder) -> bool:
    """Tell whether the holder can be proven, from where I am, to act no more."""
    if holder.machine != me.machine:
        return False
    if holder.boot != me.boot:
        return True
    return holder.namespace == me.namespace and process_start(holder.pid) != holder.process_started


def machine_id() -> str:
    """Return the machine's id, or an empty text where it has none."""
    return next((path.read_text().strip() for path in MACHINE_IDS if path.exists()), "")


def process_namespace() -> str:
    """Return the name of the namespace that process ids belong to."""
    return str(Path("/proc/self/ns/pid").readlink())


def process_start(pid: int) -> int | None:
    """Return the start of a process in ticks since boot, or None if there is none, or only its remains (a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])


def is_process_of(pid: int, file: Path, word: str) -> bool:
    """Tell whether a living process has a file open and this word among its arguments; one that is not ours to ask counts as a stranger."""
    process = Path(f"/proc/{pid}")
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
        return word.encode() in words and any(leads_to(link, file) for link in (process / "fd").iterdir())
    except OSError:
        return False


def leads_to(link: Path, file: Path) -> bool:
    """Tell whether a descriptor is of this file; one that was closed meanwhile is not."""
    try:
        return link.samefile(file)
    except OSError:
        return False
