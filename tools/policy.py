"""Debian's hook that says which services a package may start, taken over while we install and put back afterwards.

Our hook speaks only to installations that carry our mark in their environment; to all others, and about services that were there before, it
says what the hook before it says, or yes. It also names the services that were there before: if its process is killed, the next run reads them
from it, finishes the installation under the same rules, and puts the old hook back.

Invariant: what stood at the hook's place before stands there afterwards, the very same file or link.
Source: invoke-rc.d(8), and policy-rc.d in the documentation of Debian's sysvinit.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

HOOK = Path("/usr/sbin/policy-rc.d")
MARK = "# written by tools/policy.py of Manor; removed when its installation ends"
OURS = {"MANOR_INSTALLS": "1"}
"""What the environment of our installations says."""

SCRIPT = """#!/bin/sh
{mark}
before={kept}
ask_before() {{ if [ -x "$before" ]; then exec "$before" "$@"; fi; exit 0; }}
[ "${{MANOR_INSTALLS-}}" = 1 ] || ask_before "$@"
name=$1
[ "$name" != --quiet ] || name=$2
case "$name" in --*) ask_before "$@" ;; esac
case " {services} " in *" ${{name%.service}} "*) ask_before "$@" ;; esac
exit 101
"""


def kept_place(hook: Path) -> Path:
    """Return where the hook that was there before waits."""
    return hook.with_name(hook.name + ".before-manor")


def render_hook(hook: Path, services: Iterable[str]) -> str:
    """Return the script that keeps every service of our installation stopped, but for those named."""
    return SCRIPT.format(mark=MARK, kept=shlex.quote(str(kept_place(hook))), services=" ".join(sorted(services)))


def left_over(hook: Path = HOOK) -> frozenset[str] | None:
    """Return the services that a hook of ours names, or None if no hook of ours stands there."""
    text = hook.read_text(errors="replace") if hook.is_file() else ""
    found = re.search(r'^case " (.*) " in \*" \$\{name%', text, re.MULTILINE)
    return frozenset(found[1].split()) if found and MARK in text else None


def restore(hook: Path = HOOK) -> None:
    """Put back what was there before us; does nothing if we are not there."""
    kept = kept_place(hook)
    if os.path.lexists(kept):
        kept.replace(hook)
    elif left_over(hook) is not None:
        hook.unlink()


@contextlib.contextmanager
def only_these_start(services: Callable[[], frozenset[str]], hook: Path = HOOK) -> Iterator[tuple[frozenset[str], bool]]:
    """Let none but the services that are there start or stop; others who install at the same time wait for us.

    Yields these services, and whether they are those of an installation that was killed and is still to be finished.
    """
    with _alone(hook.parent):
        unfinished = left_over(hook)
        names = services() if unfinished is None else unfinished
        try:
            _take_over(hook, names)
            yield names, unfinished is not None
        finally:
            restore(hook)


def _take_over(hook: Path, names: frozenset[str]) -> None:
    draft = hook.with_name(f"{hook.name}.draft-manor")
    draft.write_text(render_hook(hook, names))
    draft.chmod(0o755)
    if os.path.lexists(hook) and left_over(hook) is None:
        hook.rename(kept_place(hook))
    draft.rename(hook)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
