"""The product as the contract wants it; everything of substance is in the files beside.

Vendor: https://supervisord.org/
"""

from __future__ import annotations

import sys

from manor.execution.values import Act, Command, Completed, HostPath, MakeFolder
from manor.integrations.supervisors.base import ProgramView, SupervisedHost, Supervisor, SupervisorFile
from manor.integrations.supervisors.supervisor import commands, parse, render


class Supervisord(Supervisor):
    """One supervisord a host; `python` is the interpreter there that can import it."""

    name = "supervisor"
    is_default = True

    def __init__(self, python: HostPath | None = None) -> None:
        """Use `python`, by default our own: local hosts share our installation."""
        self.python = python or HostPath(sys.executable)

    def render(self, host: SupervisedHost) -> tuple[SupervisorFile, ...]:
        """Return `supervisord.conf`."""
        return render.render(host)

    def folders(self, host: SupervisedHost) -> tuple[MakeFolder, ...]:
        """Return the folders of pid files, logs and sockets."""
        return commands.folders(host.layout)

    def check(self, host: SupervisedHost, etc: HostPath) -> Command:
        """Return a run of its own parser."""
        del host
        return commands.check(self.python, etc)

    def parse_check(self, completed: Completed) -> tuple[str, ...]:
        """Return its parser's complaints."""
        return parse.parse_check(completed)

    def start(self, host: SupervisedHost) -> Command:
        """Return the command that leaves a daemon behind; it ends when the socket listens."""
        return commands.start(self.python, host.layout)

    def stop(self, host: SupervisedHost) -> tuple[Act, ...]:
        """Return: stop all programs, shut down, wait until it is gone."""
        return commands.stop(host)

    def pid(self, host: SupervisedHost) -> Act:
        """Ask for its pid."""
        return commands.pid(host.layout)

    def parse_pid(self, completed: Completed) -> int:
        """Return the pid."""
        return parse.parse_pid(completed)

    def update(self, host: SupervisedHost, added: tuple[str, ...], changed: tuple[str, ...], removed: tuple[str, ...]) -> tuple[Act, ...]:
        """Return one multicall: reread, stop and remove, add."""
        return commands.update(host, added, changed, removed)

    def parse_done(self, act: Act, completed: Completed) -> str | None:
        """Return the faults that matter."""
        return parse.parse_done(act, completed)

    def status(self, host: SupervisedHost) -> Act:
        """Ask for all programs."""
        return commands.status(host.layout)

    def parse_status(self, completed: Completed) -> tuple[ProgramView, ...]:
        """Return the programs, sorted by name."""
        return parse.parse_status(completed)

    def start_program(self, host: SupervisedHost, name: str) -> Act:
        """Start one."""
        return commands.start_program(host, name)

    def stop_program(self, host: SupervisedHost, name: str, wait_seconds: float) -> Act:
        """Stop one, answered when it is gone."""
        return commands.stop_program(host, name, wait_seconds)

    def signal_program(self, host: SupervisedHost, name: str, signal: str) -> Act:
        """Signal one."""
        return commands.signal_program(host, name, signal)
