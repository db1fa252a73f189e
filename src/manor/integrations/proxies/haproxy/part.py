"""HAProxy that somebody else runs: our sections in a file of its own, read last.

Started as `haproxy -W -p <pid> -f <main> -f <into>`; a folder's files are read in the order of their names, and a section takes
the defaults that were read last unless it names others: so ours has to be the last.
Vendor's page: https://docs.haproxy.org/2.6/management.html#3
"""

from __future__ import annotations

import posixpath
from itertools import pairwise

from manor.estate.topology import TierNode
from manor.execution.values import Act, Command, Completed, HostPath, PutFile, SocketCommand, Touch
from manor.integrations.proxies.haproxy import names, paste
from manor.integrations.proxies.haproxy.commands import BINARY, reading
from manor.integrations.proxies.parts import Found, Judging, Part

ENDING = ".cfg"
OURS = "zz-manor-"
"""So begin our files, of other environments too: their sections name their defaults."""


class HAProxyPart(Part):
    """Sections of ours in a HAProxy of somebody else."""

    process = "haproxy"
    signal = "USR2"
    logs_here = False

    def own_file(self, node: TierNode) -> str:
        """Return its configuration."""
        return names.config(node)

    def obstacles(self, node: TierNode, found: Found) -> tuple[str, ...]:
        """Return what is wrong with main file, folder and command line."""
        into, _ = places(node)
        later = [name for name in others(node, found) if name > names.config(node) and not name.startswith(OURS)]
        after = tuple(f"{into / name} is read after Manor's file and would take its defaults; give it a name before zz" for name in later)
        return (*after, *not_started_with(into, found.argv))

    def judge(self, node: TierNode, found: Found, folder: HostPath, ours: bytes | None) -> Judging:
        """Return `haproxy -c` with every file by its name, ours from the folder."""
        into, main = places(node)
        own = folder / names.config(node)
        acts = (PutFile(own, ours, 0o600),) if ours is not None else ()
        files = (main, *(into / name for name in others(node, found)), *((own,) if ours is not None else ()))
        argv = (BINARY, "-c", *(word for file in files for word in ("-f", str(file))))
        return Judging(acts, Command(argv, Touch(node.subject), ok_codes=frozenset({0, 1})))

    def shown(self, node: TierNode) -> Act:
        """Return `show servers state`."""
        return SocketCommand(names.admin_socket(node), "show servers state", reading(node))

    def differences(self, node: TierNode, completed: Completed) -> tuple[str, ...]:
        """Return how the servers differ from the pasted ones."""
        return paste.differences(node, completed.text)

    def is_loaded(self, node: TierNode, completed: Completed | None) -> bool:
        """Tell whether `show backend` names one of ours."""
        return completed is not None and any(line.startswith(node.mark) for line in completed.text.splitlines())


def places(node: TierNode) -> tuple[HostPath, HostPath]:
    """Return the folder of includes and the main file."""
    if node.theirs is None or node.theirs.into is None or node.theirs.main is None:
        raise ValueError(f"{node.key} has no `into` and `main`; the rules of the estate see to it")
    return node.theirs.into, node.theirs.main


def others(node: TierNode, found: Found) -> list[str]:
    """Return the names of their files that HAProxy reads from the folder, in its order."""
    return [name for name in sorted(found.into) if name.endswith(ENDING) and not name.startswith(".") and name != names.config(node)]


def not_started_with(into: HostPath, argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return that a running master does not read the folder, as far as its command line tells: with relative names it doesn't."""
    files = [after for word, after in pairwise(argv) if word == "-f"]
    is_told = files and "--" not in argv and all(file.startswith("/") for file in files)
    if not is_told or any(posixpath.normpath(file) == posixpath.normpath(str(into)) for file in files):
        return ()
    return (f"the running haproxy was not started with `-f {into}` ({' '.join(argv)}); add it after your main file and restart it",)
