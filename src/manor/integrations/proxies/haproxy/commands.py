"""What is run and said to check, reload, switch and observe HAProxy.

Invariant: pure; a runner carries these out.
Vendor's page: https://docs.haproxy.org/2.6/management.html#9.3
"""

from __future__ import annotations

from collections.abc import Mapping

from manor.estate.layout import tier_program
from manor.estate.topology import ServiceView, TierNode, TrafficState
from manor.execution.values import Act, Command, Effect, FileAct, MakeFolder, PutFile, Remove, SocketCommand, Touch
from manor.integrations.proxies.base import TierProgram
from manor.integrations.proxies.haproxy import names
from manor.integrations.proxies.haproxy.state import page_state, traffic_state

BINARY = "haproxy"
# What takes traffic is admitted before anything else is taken away.
ORDER = (TrafficState.READY, TrafficState.DRAIN, TrafficState.MAINT)


def program(node: TierNode) -> TierProgram:
    """Return the master, which keeps a worker; its standard output is the access log. It stops at once: a slow stop is a long outage."""
    config = str(node.folders.etc / names.CONFIG)
    argv = (BINARY, "-W", "-S", f"{names.master_socket(node)},mode,600", "-f", config)
    return TierProgram(tier_program(node.key), argv, stop_seconds=10.0, stdout=node.folders.access_log)


def check(node: TierNode) -> Command:
    """Return the vendor's check; it binds nothing and writes nothing."""
    return Command((BINARY, "-c", "-f", str(node.folders.etc / names.CONFIG)), touch=Touch(node.subject), ok_codes=frozenset({0, 1}))


def version() -> Command:
    """Return the command that prints the version."""
    return Command((BINARY, "-v"))


def reload(node: TierNode) -> Act:
    """Return the act that has the master start a worker with the new files; listeners pass over by descriptor."""
    # The master's socket is interactive: it closes only after `quit`.
    return SocketCommand(names.master_socket(node), "reload; quit", changing(node), timeout_seconds=10.0)


def ready(node: TierNode) -> Act:
    """Return the act that asks the worker what it is."""
    return SocketCommand(names.admin_socket(node), "show info", reading(node))


def loaded(node: TierNode) -> Act:
    """Return the act that asks the worker which files it works by; in a program of somebody else a backend's name tells."""
    return SocketCommand(names.admin_socket(node), "show env MANOR_CONFIG" if node.theirs is None else "show backend", reading(node))


def workers(node: TierNode) -> Act:
    """Return the act that asks the master for its workers, the old ones too."""
    return SocketCommand(names.master_socket(node), "show proc; quit", reading(node))


def switch_files(node: TierNode, service: ServiceView, traffic: Mapping[str, TrafficState]) -> tuple[FileAct, ...]:
    """Return the state file with which a restart or reload comes back with this traffic."""
    if not node.has_files:
        return ()
    path = node.folders.state / names.state_file(service)
    return (MakeFolder(path.parent, touch=writing(node)), PutFile(path, traffic_state(node, service, traffic), touch=writing(node)))


def switch(node: TierNode, service: ServiceView, traffic: Mapping[str, TrafficState]) -> tuple[Act, ...]:
    """Return the act that brings these servers of the worker to this traffic; servers to be ready come first."""
    ordered = sorted((server for server in service.servers if server.name in traffic), key=lambda server: (ORDER.index(traffic[server.name]), server.name))
    words = [word for server in ordered for word in state_words(f"{names.backend(node, service)}/{server.name}", traffic[server.name])]
    return (SocketCommand(names.admin_socket(node), "; ".join(words), changing(node)),) if words else ()


def state_words(server: str, state: TrafficState) -> tuple[str, ...]:
    """Return what is said about one server; weights are absolute, because shares of a weight of 0 stay 0."""
    weight = (f"set server {server} weight 100",) if state is TrafficState.READY else ()
    return (*weight, f"set server {server} state {state.value}")


def observe_switch(node: TierNode, service: ServiceView) -> Act:
    """Return the act that reads the servers' administrative state and their numbers, and where there are WebSockets, how many are open."""
    backend = names.backend(node, service)
    opened = f"; show table {names.page_backend(node, service)}" if service.has_websockets and node.has_files else ""
    return SocketCommand(names.admin_socket(node), f"show servers state {backend}; show stat {backend} 4 -1{opened}", reading(node))


def maintenance_files(node: TierNode, service: ServiceView, on: bool) -> tuple[FileAct, ...]:
    """Return the file with which a restart comes back showing, or not showing, the maintenance page."""
    if not node.has_files:
        return ()
    path = node.folders.state / names.page_state_file(service)
    touch = writing(node)
    return (MakeFolder(path.parent, touch=touch), PutFile(path, page_state(node, service), touch=touch)) if on else (Remove(path, touch=touch),)


def maintenance(node: TierNode, service: ServiceView, on: bool) -> tuple[Act, ...]:
    """Return the acts that show the maintenance page, or end it."""
    state = TrafficState.READY if on else TrafficState.MAINT
    line = f"set server {names.page_backend(node, service)}/{names.PAGE_SERVER} state {state.value}"
    return (*maintenance_files(node, service, on), SocketCommand(names.admin_socket(node), line, changing(node)))


def observe_maintenance(node: TierNode, service: ServiceView) -> Act:
    """Return the act that reads whether the server is ready that stands for the page."""
    return SocketCommand(names.admin_socket(node), f"show servers state {names.page_backend(node, service)}", reading(node))


def reading(node: TierNode) -> Touch:
    """Return the touch of an act that only looks."""
    return Touch(node.subject, Effect.READ)


def changing(node: TierNode) -> Touch:
    """Return the touch of an act on the running process."""
    return Touch(node.subject, Effect.RUNTIME)


def writing(node: TierNode) -> Touch:
    """Return the touch of a state file."""
    return Touch(node.subject, Effect.INCLUDE)
