"""Debian's hook that says which services a package may start, taken over while we install and put back afterwards.

Services that were there before keep their own rules: the hook that was there before is asked about them, or else they may.
A hook of ours whose process is gone says yes to everything that the one before it says yes to, and the next run removes it.

Invariant: what stood at the hook's place before stands there afterwards, the very same file or link.
https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

HOOK = Path("/usr/sbin/policy-rc.d")
MARK = "# written by tools/policy.py of Manor; removed when its process ends"

SCRIPT = """#!/bin/sh
{mark}
before={kept}
ask_before() {{ if [ -x "$before" ]; then exec "$before" "$@"; fi; exit 0; }}
started=$(sed 's/.*) //' /proc/{pid}/stat 2>/dev/null | cut -d' ' -f20)
[ "$started" = {started} ] || ask_before "$@"
case "$1" in --list|--quiet) ask_before "$@" ;; esac
case " {services} " in *" ${{1%.service}} "*) ask_before "$@" ;; esac
exit 101
"""


def kept_place(hook: Path) -> Path:
    """Return where the hook that was there before waits."""
    return hook.with_name(hook.name + ".before-manor")


def start_time(pid: int) -> str:
    """Return when a process started, in clock ticks since boot, as /proc has it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19]


def render_hook(hook: Path, services: Iterable[str], pid: int) -> str:
    """Return the script that keeps every service stopped but those named, as long as the process lives."""
    names = " ".join(sorted(services))
    return SCRIPT.format(mark=MARK, kept=shlex.quote(str(kept_place(hook))), pid=pid, started=start_time(pid), services=names)


def restore(hook: Path = HOOK) -> None:
    """Put back what was there before us; does nothing if we are not there."""
    kept = kept_place(hook)
    if os.path.lexists(kept):
        kept.replace(hook)
    elif hook.is_file() and MARK in hook.read_text(errors="replace"):
        hook.unlink()


@contextlib.contextmanager
def only_these_start(services: Iterable[str], hook: Path = HOOK) -> Iterator[None]:
    """Let no service start or stop but those named. Others who install at the same time wait for us."""
    with _alone(hook.parent):
        restore(hook)
        draft = hook.with_name(f"{hook.name}.draft-manor")
        draft.write_text(render_hook(hook, services, os.getpid()))
        draft.chmod(0o755)
        try:
            if os.path.lexists(hook):
                hook.rename(kept_place(hook))
            draft.rename(hook)
            yield
        finally:
            draft.unlink(missing_ok=True)
            restore(hook)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
