"""nginx that somebody else runs: our servers in a file of its own, which their `http` includes.

Vendor's page: https://nginx.org/en/docs/ngx_core_module.html#include
"""

from __future__ import annotations

import fnmatch
import posixpath
import re

from manor.estate.topology import TierNode
from manor.execution.values import Command, Completed, FileAct, HostPath, PutFile, PutLink, Touch
from manor.integrations.proxies.nginx import names
from manor.integrations.proxies.nginx.commands import BINARY
from manor.integrations.proxies.nginx.options import load_options
from manor.integrations.proxies.nginx.quoting import path
from manor.integrations.proxies.parts import Found, Judging, Part

INCLUDE = re.compile(r"""\binclude\s+(?P<quote>["']?)(?P<path>[^\s;"']+)(?P=quote)(?=\s*;)""")
PID = re.compile(r"""(?<![^\s;{}])pid\s+[^\s;]+(?=\s*;)""")


class NginxPart(Part):
    """Servers of ours in an nginx of somebody else."""

    process = "nginx"
    signal = "HUP"
    reopen = "USR1"

    def own_file(self, node: TierNode) -> str:
        """Return its configuration."""
        return names.config(node)

    def obstacles(self, node: TierNode, found: Found) -> tuple[str, ...]:
        """Return what is wrong with the main file."""
        into, main = places(node)
        if not any(is_ours(node, match) for match in INCLUDE.finditer(found.main.decode("utf-8", "surrogateescape"))):
            return (f"{main} does not include {into / names.config(node)}; add `include {into}/*.conf;` to its `http`",)
        return ()

    def judge(self, node: TierNode, found: Found, folder: HostPath, ours: bytes | None) -> Judging:
        """Return `nginx -t` of a copy of their main file that includes a folder of links to theirs, with ours beside."""
        into, main = places(node)
        links, copy = folder / "into", folder / "main" / main.name
        beside = [PutLink(copy.parent / name, main.parent / name) for name in found.beside if name != main.name]
        included = [PutLink(links / name, into / name) for name in found.into if name != names.config(node)]
        own = [PutFile(links / names.config(node), ours, 0o600)] if ours is not None else []
        text, pid = elsewhere(node, found.main, links), folder / "check.pid"
        acts: tuple[FileAct, ...] = (*beside, *included, *own, PutFile(copy, with_pid(text, pid), 0o600))
        prefix = load_options(node.options, node.subject).prefix
        argv = (BINARY, "-e", "stderr", *(("-p", f"{prefix}/") if prefix else ()), "-c", str(copy), *no_pid(text, pid), "-t", "-q")
        return Judging(acts, Command(argv, Touch(node.subject), ok_codes=frozenset({0, 1})))

    def is_loaded(self, node: TierNode, completed: Completed | None) -> bool:
        """Tell whether our admin listener answered."""
        return completed is not None and completed.code == 200


def places(node: TierNode) -> tuple[HostPath, HostPath]:
    """Return the folder of includes and the main file."""
    if node.theirs is None or node.theirs.into is None or node.theirs.main is None:
        raise ValueError(f"{node.key} has no `into` and `main`; the rules of the estate see to it")
    return node.theirs.into, node.theirs.main


def is_ours(node: TierNode, match: re.Match[str]) -> bool:
    """Tell whether an include of the main file means our file; one in a comment does not."""
    into, main = places(node)
    folder, name = posixpath.split(posixpath.normpath(posixpath.join(str(main.parent), match["path"])))
    return not is_comment(match) and folder == posixpath.normpath(str(into)) and fnmatch.fnmatchcase(names.config(node), name)


def is_comment(match: re.Match[str]) -> bool:
    """Tell whether a find stands behind a `#` on its line."""
    return "#" in match.string[match.string.rfind("\n", 0, match.start()) + 1 : match.start()]


def elsewhere(node: TierNode, main: bytes, links: HostPath) -> str:
    """Return their main file with the include that means our file turned to another folder."""

    def turned(match: re.Match[str]) -> str:
        return f"include {path(links / posixpath.basename(match['path']))}" if is_ours(node, match) else match[0]

    return INCLUDE.sub(turned, main.decode("utf-8", "surrogateescape"))


def with_pid(text: str, pid: HostPath) -> bytes:
    """Return a main file whose pid file is another: a check makes it where there is none."""
    return PID.sub(lambda match: match[0] if is_comment(match) else f"pid {path(pid)}", text).encode("utf-8", "surrogateescape")


def no_pid(text: str, pid: HostPath) -> tuple[str, ...]:
    """Return what the command line says of the pid file where the main file names none."""
    return () if any(not is_comment(match) for match in PID.finditer(text)) else ("-g", f"pid {path(pid)};")
