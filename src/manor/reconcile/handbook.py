"""The README on each host: its real paths, and the commands with which a person works it without Manor."""

from __future__ import annotations

import shlex

from manor.estate.topology import TierNode
from manor.estate.wiring import Wiring
from manor.execution.values import Act, Command, PutFile, Remove, SocketCommand
from manor.integrations.proxies.base import Proxy
from manor.integrations.supervisors.base import SupervisedHost
from manor.registry import product


def render_handbook(wiring: Wiring, host: SupervisedHost, nodes: tuple[TierNode, ...]) -> bytes:
    """Return the host's README.md."""
    root = host.layout.root
    parts = [
        f"# {wiring.estate.name} · {host.environment}/{host.host}",
        f"Everything that Manor keeps on this host is under `{root}`; sockets are in `{host.layout.sockets}`.",
        "Files under `etc/` are rendered: change the estate, not them. Which release runs in which slot: `slots/<service>/`.",
        *(tier_part(node) for node in nodes),
        "## Programs",
        *(f"- `{program.name}`: log `{program.log}`" for program in host.programs),
    ]
    return ("\n\n".join(parts) + "\n").encode()


def tier_part(node: TierNode) -> str:
    """Return what to know of one tier."""
    proxy: Proxy = product("proxies", node.product)
    if node.theirs is not None:
        return part_of_theirs(node, proxy)
    lines = [
        f"## {node.role} · {node.product}",
        f"- files `{node.folders.etc}`, access log `{node.folders.access_log}`",
        *(f"- listens on {listener.address}:{listener.port}{' (TLS)' if listener.tls else ''}" for listener in node.listeners),
        f"- check: `{by_hand(proxy.check(node))}`",
        *(f"- reload: `{by_hand(act)}`" for act in proxy.reload(node)),
        f"- is it up: `{by_hand(proxy.ready(node))}`",
    ]
    return "\n".join(lines)


def part_of_theirs(node: TierNode, proxy: Proxy) -> str:
    """Return what to know of a tier that is a part of somebody else's program."""
    lines = [f"## {node.role} · {node.product}, a part of your own"]
    if proxy.part is not None and node.has_files and node.theirs:
        lines += [
            f"- Manor's file `{node.theirs.into}/{proxy.part.own_file(node)}`, what it names is in `{node.folders.etc}`; all else is yours",
            f'- reload: `kill -s {proxy.part.signal} "$(cat {node.theirs.pid})"`',
        ]
    lines += [f"- listens on {listener.address}:{listener.port}{' (TLS)' if listener.tls else ''}" for listener in node.listeners if node.has_files]
    return "\n".join([*lines, f"- works by Manor's: `{by_hand(proxy.loaded(node))}`"])


def by_hand(act: Act) -> str:
    """Return the shell command with which a person does what an act does."""
    match act:
        case Command(argv=argv):
            return shlex.join(str(word) for word in argv)
        case SocketCommand(socket=socket, line=line):
            return f"echo {shlex.quote(line)} | socat - UNIX-CONNECT:{socket}"
        case PutFile(path=path, content=b""):
            return f"touch {shlex.quote(str(path))}"
        case Remove(path=path):
            return f"rm -rf {shlex.quote(str(path))}"
        case _:
            return request_by_hand(act)


def request_by_hand(act: Act) -> str:
    """Return a curl command for a request, or the act's own description."""
    url = getattr(act, "url", None)
    if url is None:
        return f"write {getattr(act, 'path', act)}"
    socket = getattr(act, "socket", None)
    return shlex.join(["curl", "-sS", *(["--unix-socket", str(socket)] if socket else []), url])
