"""Carries out this product's acts on this machine, for native tests: one subprocess or one HTTP request over the socket."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from manor import execution
from manor.execution.values import Act, Command, Completed, HttpRequest
from manor.integrations.supervisors.base import Program, ProgramStatus, ProgramView, SupervisedHost
from manor.integrations.supervisors.supervisor import product

WRAPPER = Path(execution.__file__).with_name("exec.sh")
LIMIT_SECONDS = 15.0
Found = TypeVar("Found")


@dataclass
class Host:
    """A local host under a test's folder, with its supervisord."""

    declared: SupervisedHost

    def carry_out(self, act: Act) -> Completed:
        done = run(act) if isinstance(act, Command) else request(act)
        assert product.parse_done(act, done) is None
        return done

    def write(self, *programs: Program) -> None:
        self.declared = replace(self.declared, programs=programs)
        for folder in product.folders(self.declared):
            Path(folder.path).mkdir(mode=folder.mode, parents=True, exist_ok=True)
        for file in product.render(self.declared):
            path = Path(self.declared.layout.supervisor / file.name)
            path.write_bytes(file.content)
            path.chmod(file.mode)

    def start(self) -> int:
        started = run(product.start(self.declared))
        assert started.code == 0, started.err + started.out
        return product.parse_pid(self.carry_out(product.pid(self.declared)))

    def views(self) -> dict[str, ProgramView]:
        return {view.name: view for view in product.parse_status(self.carry_out(product.status(self.declared)))}

    def wait_for(self, name: str, *statuses: ProgramStatus) -> ProgramView:
        return until(lambda: next((view for view in [self.views()[name]] if view.status in statuses), None))

    def pids(self) -> list[int]:
        marks = (self.declared.layout.instance_mark(program.name) for program in self.declared.programs)
        return [pid for mark in marks for pid in marked(mark)]

    def stop(self) -> None:
        for act in product.stop(self.declared):
            self.carry_out(act)


@contextmanager
def local_host(declared: SupervisedHost) -> Iterator[Host]:
    host = Host(declared)
    wrapper = Path(declared.layout.exec)
    wrapper.parent.mkdir(parents=True)
    wrapper.write_bytes(WRAPPER.read_bytes())
    wrapper.chmod(0o755)
    try:
        yield host
    finally:
        if Path(declared.layout.sockets / "supervisor.sock").exists():
            host.stop()
        for pid in host.pids():
            os.kill(pid, signal.SIGKILL)


def until(seen: Callable[[], Found | None]) -> Found:
    """Return what is seen as soon as it is; fail after the limit."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        found = seen()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("not seen in time")


def run(command: Command) -> Completed:
    words = [str(word) for word in command.argv]
    done = subprocess.run(words, cwd=command.cwd, capture_output=True, timeout=command.timeout_seconds, check=False)
    return Completed(done.returncode, done.stdout, done.stderr)


class SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def request(act: Act) -> Completed:
    assert isinstance(act, HttpRequest)
    connection = SocketConnection(str(act.socket), act.timeout_seconds)
    try:
        connection.request(act.method, "/RPC2", act.body, {name: str(value) for name, value in act.headers.items()})
        response = connection.getresponse()
        return Completed(response.status, response.read())
    finally:
        connection.close()


def is_alive(pid: int) -> bool:
    """Tell whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def marked(mark: str) -> list[int]:
    """Return the live processes of an instance, without wrappers that wait for one."""
    wanted = f"MANOR_INSTANCE={mark}".encode()
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit() and is_alive(int(each.name)) and is_instance(environment(each), wanted)]


def is_instance(variables: list[bytes], wanted: bytes) -> bool:
    return wanted in variables and not any(variable.startswith(b"MANOR_WAITING=") for variable in variables)


def environment(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []
