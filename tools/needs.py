"""What this project needs from Debian, by the file that proves it is there.

Invariant: a need that is met by whatever package is not touched; only what is absent is installed.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

PROGRAM_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


@dataclass(frozen=True)
class Need:
    """A Debian package, and how to see that what it is wanted for is there already."""

    package: str
    is_met: Callable[[], bool]


def program(package: str, name: str) -> Need:
    """Return the need for a program; the system's folders are looked through whatever PATH says."""
    return Need(package, lambda: shutil.which(name) is not None or any(Path(folder, name).exists() for folder in PROGRAM_FOLDERS))


def module(package: str, name: str) -> Need:
    """Return the need for a module of the Python that runs this."""
    return Need(package, lambda: importlib.util.find_spec(name) is not None)


def library(package: str, pattern: str) -> Need:
    """Return the need for a library, given as a pattern below /usr/lib."""
    return Need(package, lambda: any(Path("/usr/lib").glob(pattern)))


NEEDS = (
    program("ca-certificates", "update-ca-certificates"),
    program("curl", "curl"),
    program("git", "git"),
    program("haproxy", "haproxy"),
    program("nginx-light", "nginx"),
    module("python3-venv", "ensurepip"),
    program("util-linux", "setsid"),
    program("varnish", "varnishd"),
    library("varnish-modules", "*/varnish/vmods/libvmod_xkey.so"),
    program("wrk", "wrk"),
)


def missing(needs: Iterable[Need] = NEEDS) -> tuple[str, ...]:
    """Return the packages whose need is not met, in the order given."""
    return tuple(need.package for need in needs if not need.is_met())
