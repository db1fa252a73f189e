"""Installs Debian packages so that nothing of what they bring runs, and nothing that ran before notices. Runs as root.

Usage: python3 -m tools.debian PACKAGE...

Invariant: only services that came with this very installation are stopped or disabled.
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
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "APT_LISTCHANGES_FRONTEND": "none"}
APT = ("apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Options::=--force-confold")
SYSTEMD_RUNS = Path("/run/systemd/system")


def units(folders: Iterable[str] = UNIT_FOLDERS) -> frozenset[str]:
    """Return the names of all units on this machine, e.g. `nginx.service`."""
    return frozenset(path.name for folder in folders for path in Path(folder).glob("*") if path.suffix in UNIT_KINDS)


def init_scripts(folder: str = "/etc/init.d") -> frozenset[str]:
    """Return the names of all init scripts on this machine."""
    return frozenset(path.name for path in Path(folder).glob("*") if path.is_file() and not path.name.startswith("."))


def services(unit_names: Iterable[str], script_names: Iterable[str]) -> frozenset[str]:
    """Return the names by which the packages' scripts speak of these services."""
    return frozenset(name.removesuffix(".service") for name in unit_names) | frozenset(script_names)


def wanting(unit: str, folder: str = UNIT_FOLDERS[0]) -> list[Path]:
    """Return the links that make other units start this one: what `systemctl disable` removes, also where systemd does not run."""
    links = [place / unit for pattern in ("*.wants", "*.requires") for place in sorted(Path(folder).glob(pattern))]
    return [link for link in links if link.is_symlink()]


def install(packages: tuple[str, ...]) -> None:
    """Install packages. Whatever service came with them is stopped and disabled afterwards. Raises CalledProcessError."""
    units_before, scripts_before = units(), init_scripts()
    update = subprocess.run([*APT, "update"], env={**os.environ, **QUIET}, check=False)
    if update.returncode:
        print("apt-get update had errors (above); going on with the lists that are here", file=sys.stderr, flush=True)
    try:
        with policy.only_these_start(services(units_before, scripts_before)):
            subprocess.run(
                [*APT, "install", "--yes", "--no-install-recommends", "--no-remove", "--no-upgrade", *packages], env={**os.environ, **QUIET}, check=True
            )
    finally:
        disable(units() - units_before, init_scripts() - scripts_before)


def disable(new_units: frozenset[str], new_scripts: frozenset[str]) -> None:
    """Keep these units and init scripts from starting, now and with the machine."""
    for script in sorted(new_scripts):
        subprocess.run(["update-rc.d", script, "disable"], check=True)
    for unit in sorted(name for name in new_units if not name.endswith(("@.service", "@.socket", "@.timer"))):
        if SYSTEMD_RUNS.is_dir():
            subprocess.run(["systemctl", "disable", "--now", "--quiet", unit], check=True)
        for link in wanting(unit):
            link.unlink()
    if new_units | new_scripts:
        print("installed but neither running nor started with the machine:", ", ".join(sorted(services(new_units, new_scripts))), flush=True)


def main(packages: list[str]) -> int:
    """Put the hook back even when told to end, and install."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    if not packages:
        policy.restore()
        return 0
    try:
        install(tuple(packages))
    except subprocess.CalledProcessError as failure:
        print(f"could not install {' '.join(packages)}: {failure.cmd[0]} ended with {failure.returncode}; its reason is above", file=sys.stderr)
        return 1
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
