"""What can be asked of supervisord, as acts.

Invariant: pure; every call goes over the host's Unix socket, and one that changes several programs is one round trip.
Vendor: https://supervisord.org/api.html
"""

from __future__ import annotations

import xmlrpc.client
from collections.abc import Iterable
from itertools import chain

from manor.estate.layout import HostLayout
from manor.execution.values import Act, Command, Effect, HostPath, HttpRequest, MakeFolder, Touch
from manor.integrations.supervisors.base import SupervisedHost
from manor.integrations.supervisors.supervisor.render import CONFIG, config_file, pid_file, socket_path

PARSE = "import sys; from supervisor.options import ServerOptions; ServerOptions().realize(['-c', sys.argv[1]])"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
WAIT_FOR_END = 'n=$2; while [ -e "$1" ] && [ "$n" -gt 0 ]; do sleep 0.1; n=$((n - 1)); done; [ ! -e "$1" ]'
CALL_SECONDS = 5.0
REREAD_SECONDS = 30.0
SLACK_SECONDS = 10.0
"""supervisord looks at its children once a second; between TERM, KILL and the answer lie a few such looks."""

Call = tuple[str, tuple[str | bool, ...]]


def folders(layout: HostLayout) -> tuple[MakeFolder, ...]:
    """Return the folders of its files, pid file, logs and socket."""
    plain = (layout.supervisor, pid_file(layout).parent, layout.root / "log")
    return (*(MakeFolder(path) for path in plain), MakeFolder(layout.sockets, mode=0o700, is_own=True))


def check(python: HostPath, etc: HostPath) -> Command:
    """Return a run of supervisord's own parser over the file in `etc`; it exits 2 with its complaint."""
    return Command((str(python), "-I", "-X", "utf8", "-c", PARSE, str(etc / CONFIG)), ok_codes=frozenset({0, 2}))


def start(python: HostPath, layout: HostLayout) -> Command:
    """Return the command that leaves a daemon in a session of its own; it ends when the socket listens, or fails with the reason.

    A second one on the same socket is refused by supervisord itself. The environment is empty but for a path, so that
    what programs see does not depend on who started them.
    """
    clean = ("/usr/bin/env", "-i", f"PATH={PATH}:{python.parent}", "LANG=C.UTF-8", f"HOME={layout.root}")
    daemon = (str(python), "-I", "-X", "utf8", "-m", "supervisor.supervisord", "-c", str(config_file(layout)))
    return Command((*clean, *daemon), touch=Touch(effect=Effect.FULL), cwd=layout.root)


def stop(host: SupervisedHost) -> tuple[Act, ...]:
    """Return the acts that end every program, then supervisord, then wait until its pid file is gone."""
    seconds = longest_stop(host, (program.name for program in host.programs))
    touch = Touch(effect=Effect.FULL)
    gone = Command(("/bin/sh", "-c", WAIT_FOR_END, "wait", str(pid_file(host.layout)), "150"), touch=touch)
    return (
        call(host.layout, ("supervisor.stopAllProcesses", (True,)), touch, seconds),
        call(host.layout, ("supervisor.shutdown", ()), touch),
        gone,
    )


def pid(layout: HostLayout) -> HttpRequest:
    """Ask supervisord for its pid."""
    return call(layout, ("supervisor.getPID", ()), Touch())


def status(layout: HostLayout) -> HttpRequest:
    """Ask for the state of every program."""
    return call(layout, ("supervisor.getAllProcessInfo", ()), Touch())


def update(host: SupervisedHost, added: tuple[str, ...], changed: tuple[str, ...], removed: tuple[str, ...]) -> tuple[HttpRequest, ...]:
    """Return one call of many: read the file again, stop and remove, add. What is not named goes on undisturbed."""
    if not (added or changed or removed):
        return ()
    leaving = chain.from_iterable(remove_calls(name) for name in (*removed, *changed))
    coming: Iterable[Call] = (("supervisor.addProcessGroup", (name,)) for name in (*changed, *added))
    calls: tuple[Call, ...] = (("supervisor.reloadConfig", ()), *leaving, *coming)
    seconds = REREAD_SECONDS + sum(stop_seconds(host, name) for name in (*removed, *changed))
    return (many(host.layout, calls, Touch(effect=Effect.FULL), seconds),)


def remove_calls(name: str) -> tuple[Call, Call]:
    """Return: stop a program and wait, take it out."""
    return ("supervisor.stopProcessGroup", (name, True)), ("supervisor.removeProcessGroup", (name,))


def start_program(host: SupervisedHost, name: str) -> HttpRequest:
    """Start one; health tells whether it came up, not the answer."""
    return call(host.layout, ("supervisor.startProcess", (name, False)), runtime(host, name))


def stop_program(host: SupervisedHost, name: str, wait_seconds: float) -> HttpRequest:
    """Stop one; answered when it is gone. Its own stop time, then KILL, decides unless `wait_seconds` is over before."""
    return call(host.layout, ("supervisor.stopProcess", (name, True)), runtime(host, name), wait_seconds)


def signal_program(host: SupervisedHost, name: str, signal: str) -> HttpRequest:
    """Send a signal to the program itself, not to its group."""
    return call(host.layout, ("supervisor.signalProcess", (name, signal)), runtime(host, name))


def runtime(host: SupervisedHost, name: str) -> Touch:
    """Return what touching a program at run time means."""
    subject = next((program.subject for program in host.programs if program.name == name), "host")
    return Touch(subject, Effect.RUNTIME)


def stop_seconds(host: SupervisedHost, name: str) -> float:
    """Return how long stopping a program may take; 30 s for one that the estate no longer knows."""
    return next((program.stop_seconds for program in host.programs if program.name == name), 30.0) + SLACK_SECONDS


def longest_stop(host: SupervisedHost, names: Iterable[str]) -> float:
    """Return how long stopping them side by side may take."""
    return max((stop_seconds(host, name) for name in names), default=SLACK_SECONDS)


def many(layout: HostLayout, calls: Iterable[Call], touch: Touch, seconds: float) -> HttpRequest:
    """Return several calls as one."""
    inner = [{"methodName": name, "params": list(parameters)} for name, parameters in calls]
    return post(layout, xmlrpc.client.dumps((inner,), "system.multicall"), touch, seconds)


def call(layout: HostLayout, one: Call, touch: Touch, seconds: float = CALL_SECONDS) -> HttpRequest:
    """Return one call."""
    name, parameters = one
    return post(layout, xmlrpc.client.dumps(parameters, name), touch, seconds)


def post(layout: HostLayout, body: str, touch: Touch, seconds: float) -> HttpRequest:
    """Return the request that carries a call."""
    return HttpRequest(
        "POST",
        "http://localhost/RPC2",
        headers={"Content-Type": "text/xml"},
        body=body.encode(),
        socket=socket_path(layout),
        touch=touch,
        timeout_seconds=seconds,
        ok_codes=frozenset({200}),
    )
