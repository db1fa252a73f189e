"""What is run, asked and written to check, reload, switch and observe nginx.

Invariant: pure; a runner carries these out.
Vendor's page: https://nginx.org/en/docs/switches.html
"""

from __future__ import annotations

from collections.abc import Mapping

from manor.estate.layout import tier_program
from manor.estate.topology import ServiceView, TierNode, TrafficState
from manor.execution.values import Command, Effect, FileAct, HostPath, HttpRequest, MakeFolder, PutFile, Remove, Touch
from manor.integrations.proxies.base import TierProgram
from manor.integrations.proxies.nginx import names
from manor.integrations.proxies.nginx.quoting import path
from manor.integrations.proxies.nginx.slots import own_servers

BINARY = "nginx"
STATES: tuple[TrafficState, TrafficState] = (TrafficState.READY, TrafficState.DRAIN)


def argv(node: TierNode, pid: HostPath, *more: str, first: str = "") -> tuple[str, ...]:
    """Return the command line with the node's files; `pid` is not in them."""
    config = node.folders.etc / names.CONFIG
    return (BINARY, "-e", "stderr", "-p", f"{node.folders.run}/", "-c", str(config), "-g", f"{first}pid {path(pid)};", *more)


def program(node: TierNode) -> TierProgram:
    """Return the master, in the foreground. It stops at once: a slow stop is a long outage."""
    line = argv(node, names.pid_file(node), first="daemon off; ")
    return TierProgram(tier_program(node.key), line, stop_seconds=10.0)


def check(node: TierNode) -> Command:
    """Return the vendor's check; its pid file lies beside the checked files, and a busy port is no error to it."""
    line = argv(node, node.folders.etc / "check.pid", "-t", "-q")
    return Command(line, touch=Touch(node.subject), ok_codes=frozenset({0, 1}))


def version() -> Command:
    """Return the command that prints the version (to its standard error)."""
    return Command((BINARY, "-v"))


def signal(node: TierNode, name: str) -> Command:
    """Return the command that has the running master reload or reopen its log."""
    return Command(argv(node, names.pid_file(node), "-s", name), touch=Touch(node.subject, Effect.RUNTIME))


def ask(node: TierNode, where: str) -> HttpRequest:
    """Return a question to the admin listener."""
    return HttpRequest("GET", f"http://{node.admin_address}:{node.admin_port}{where}", touch=Touch(node.subject))


def switch_files(node: TierNode, service: ServiceView, traffic: Mapping[str, TrafficState]) -> tuple[FileAct, ...]:
    """Return the flags: what is to be there first, so that at every moment some slot is ready if one was and one will be."""
    wanted = {names.flag(node, service, server.slot, state): traffic[server.name] is state for server in own_servers(node, service) for state in STATES}
    touch = Touch(node.subject, Effect.INCLUDE)
    put = tuple(PutFile(flag, b"", touch=touch) for flag, is_wanted in wanted.items() if is_wanted)
    folder = MakeFolder(names.page_flag(node, service).parent, touch=touch)
    return (folder, *put, *(Remove(flag, touch=touch) for flag, is_wanted in wanted.items() if not is_wanted))


def maintenance(node: TierNode, service: ServiceView, on: bool) -> tuple[FileAct, ...]:
    """Return the flag of the maintenance page, which takes effect at once."""
    flag, touch = names.page_flag(node, service), Touch(node.subject, Effect.INCLUDE)
    return (MakeFolder(flag.parent, touch=touch), PutFile(flag, b"", touch=touch)) if on else (Remove(flag, touch=touch),)
