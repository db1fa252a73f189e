"""Installs Debian packages so that nothing of what they bring runs, and nothing that ran before notices. Runs as root.

Usage: python3 -m tools.debian [PACKAGE...]    without packages: finish an installation that was killed

Invariant: only services that came with this very installation are stopped or disabled.
Invariant: an installation is never cut off half-way: told to end, it ends when the packages are configured.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

from tools import policy

UNIT_FOLDERS = ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")
UNIT_KINDS = (".service", ".socket", ".timer", ".path")
SCRIPTS = "/etc/init.d"
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "APT_LISTCHANGES_FRONTEND": "none"}
APT = ("apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Options::=--force-confold")
INSTALL = (*APT, "install", "--yes", "--no-install-recommends", "--no-remove", "--no-upgrade")
SYSTEMD_RUNS = Path("/run/systemd/system")
asked_to_end: list[int] = []


def units(folders: Iterable[str] = UNIT_FOLDERS) -> frozenset[str]:
    """Return the names of all units on this machine, e.g. `nginx.service`."""
    return frozenset(path.name for folder in folders for path in Path(folder).glob("*") if path.suffix in UNIT_KINDS)


def init_scripts(folder: str = SCRIPTS) -> frozenset[str]:
    """Return the names of all init scripts on this machine."""
    return frozenset(path.name for path in Path(folder).glob("*") if path.is_file() and not path.name.startswith("."))


def service_name(name: str) -> str:
    """Return the name by which packages' scripts speak of a unit or init script."""
    return name.removesuffix(".service")


def services() -> frozenset[str]:
    """Return the names of all services on this machine."""
    return frozenset(service_name(name) for name in units() | init_scripts())


def install(packages: tuple[str, ...]) -> None:
    """Install packages. Whatever service came with them is stopped and disabled afterwards. Raises CalledProcessError."""
    with policy.only_these_start(services) as (before, is_unfinished):
        try:
            if is_unfinished:
                run("dpkg", "--configure", "-a", "--force-confold")
            if packages:
                update_lists()
                run(*INSTALL, *packages)
        finally:
            disable(new(units(), before), new(init_scripts(), before))


def run(*command: str) -> None:
    """Run one of Debian's tools to its end. Raises CalledProcessError."""
    subprocess.run(command, env={**os.environ, **QUIET, **policy.OURS}, check=True)


def update_lists() -> None:
    """Fetch the lists of packages; with errors in some of them we go on, and the installation says what is missing."""
    try:
        run(*APT, "update")
    except subprocess.CalledProcessError:
        print("apt-get update had errors (above); going on with the lists that are here", file=sys.stderr, flush=True)


def new(names: Iterable[str], before: frozenset[str]) -> list[str]:
    """Return the units or scripts of services that were not there before, sorted; templates never run by themselves."""
    return sorted(name for name in names if service_name(name) not in before and "@." not in name)


def disable(new_units: list[str], new_scripts: list[str]) -> None:
    """Keep these units and init scripts from starting, now and with the machine."""
    for script in new_scripts:
        if any(Path("/etc").glob(f"rc?.d/S??{script}")):
            run("update-rc.d", script, "disable")
    for unit in new_units:
        if SYSTEMD_RUNS.is_dir():
            run("systemctl", "disable", "--now", "--quiet", unit)
        for link in wanting(unit):
            link.unlink()
    names = sorted({service_name(name) for name in (*new_units, *new_scripts)})
    if names:
        print("installed but neither running nor started with the machine:", ", ".join(names), flush=True)


def wanting(unit: str, folder: str = UNIT_FOLDERS[0]) -> list[Path]:
    """Return the links that make other units start this one: what `systemctl disable` removes, also where systemd does not run."""
    links = [place / unit for pattern in ("*.wants", "*.requires") for place in sorted(Path(folder).glob(pattern))]
    return [link for link in links if link.is_symlink()]


def main(packages: list[str]) -> int:
    """Install, and end only then if told to end meanwhile."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _remember)
    try:
        install(tuple(packages))
    except subprocess.CalledProcessError as failure:
        print(f"could not install {' '.join(packages)}: {failure.cmd[0]} ended with {failure.returncode}; its reason is above", file=sys.stderr)
        return 1
    return 128 + asked_to_end[0] if asked_to_end else 0


def _remember(number: int, frame: FrameType | None) -> None:
    asked_to_end.append(number)
    print("told to end: ending as soon as the packages are configured", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
