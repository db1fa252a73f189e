"""The files of a hosted repository: its configuration and hooks.

Invariant: pure; the same rules give the same bytes, and writing them again brings any repository to them.
https://git-scm.com/docs/git-config, https://git-scm.com/docs/githooks
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from manor.execution.values import FileAct, HostPath, MakeFolder, PutFile
from manor.integrations.repositories.base import RepositoryRules

HOOKS = Path(__file__).parent / "hooks"

CONFIG = """\
# Written by Manor; changes here are overwritten.
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
\tlogAllRefUpdates = true
\tfsync = all
\tfsyncMethod = fsync
[transfer]
\tfsckObjects = true
\tunpackLimit = 1
[receive]
\tadvertisePushOptions = true
\tautoGC = false
\tdenyDeletes = false
\tdenyDeleteCurrent = ignore
\tdenyNonFastForwards = false
\tmaxInputSize = {largest}
[uploadpack]
\tallowFilter = true
\tallowAnySHA1InWant = false
[http]
\treceivepack = true
\tuploadpack = true
\tgetanyfile = false
[gc]
\tauto = 0
\treflogExpire = never
\treflogExpireUnreachable = never
[fsck]
\tzeroPaddedFilemode = warn
"""
"""What stands here and why: docs/git.md. Deletions and forced pushes are judged by the hook, branch by branch."""


def files(place: HostPath, rules: RepositoryRules) -> tuple[FileAct, ...]:
    """Return the configuration and hooks of the repository in `place`."""
    hooks = place / "hooks"
    return (
        PutFile(place / "config", CONFIG.format(largest=rules.largest_push_bytes).encode()),
        MakeFolder(hooks),
        PutFile(hooks / "rules.json", judged_by(rules)),
        *(PutFile(hooks / f"{name}.py", (HOOKS / f"{module}.py").read_bytes()) for name, module in PYTHON_HOOKS.items()),
        *(PutFile(hooks / name, starter(hooks / f"{name}.py"), mode=0o755) for name in PYTHON_HOOKS),
        PutFile(hooks / "reference-transaction", (HOOKS / "reference-transaction.sh").read_bytes(), mode=0o755),
    )


PYTHON_HOOKS = {"pre-receive": "pre_receive", "post-receive": "post_receive"}


def judged_by(rules: RepositoryRules) -> bytes:
    """Return the rules as pre-receive reads them."""
    return json.dumps({"protected": list(rules.protected)}, indent=1).encode() + b"\n"


def starter(script: HostPath) -> bytes:
    """Return a shell script that starts a hook with our own Python, isolated from the pusher's and the machine's settings."""
    return f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -S {shlex.quote(str(script))} "$@"\n'.encode()
