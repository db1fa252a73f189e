"""What is somebody else's on a host must not be what the estate needs there (docs/estate.md, ownership)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from manor.estate.model import Environment, Host
from manor.estate.problems import Finding, dotted
from manor.estate.rules.context import Context
from manor.estate.rules.ports import owners_on

SERVER_ROOT = PurePosixPath("/var/lib/manor")


def check_untouchables(environment: Environment, context: Context) -> Iterator[Finding]:
    """Yield untouchable ports and paths that the estate would use itself."""
    for host in environment.hosts.values():
        if host.untouchable.ports:
            yield from _check_ports(environment, host)
        root = _root(environment, host, context)
        for number, path in enumerate(host.untouchable.paths):
            theirs = PurePosixPath(path)
            if theirs == root or theirs in root.parents or root in theirs.parents:
                wrong = f"{path} is where Manor keeps its own files of this host ({root}); name a smaller folder, or remove it"
                yield Finding(("hosts", host.name, "untouchable", "paths", number), wrong)


def _check_ports(environment: Environment, host: Host) -> Iterator[Finding]:
    needed = {owner.port: owner for owner in owners_on(environment, host)}
    for number, port in enumerate(host.untouchable.ports):
        owner = needed.get(port)
        if owner:
            wrong = f"port {port} is needed on this host by {owner.what} ({dotted(owner.path)}); move that elsewhere, or remove it here"
            yield Finding(("hosts", host.name, "untouchable", "ports", number), wrong)


def _root(environment: Environment, host: Host, context: Context) -> PurePosixPath:
    if not host.is_local:
        return SERVER_ROOT
    return PurePosixPath(context.folder.absolute().as_posix()) / ".manor" / "state" / "hosts" / environment.name / host.name
