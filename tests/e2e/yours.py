"""Somebody's own HAProxy and nginx with a legacy site, as they were before Manor came: started, hashed and ended by the test."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.estates import wait_until
from tests.integrations.proxies.live import fresh_address

NGINX = """\
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    include mime.types;
    access_log {folder}/nginx.log;
    gzip on;
    keepalive_timeout 75s;
    client_body_temp_path {folder}/temp; proxy_temp_path {folder}/temp; fastcgi_temp_path {folder}/temp;
    uwsgi_temp_path {folder}/temp; scgi_temp_path {folder}/temp;
    # include conf.d/*.conf; is what somebody once wrote
    include conf.d/*.conf;
}}
"""
LEGACY = """\
server {{
    listen {address}:8180;
    server_name legacy.example;
    add_header X-Legacy yes;
    location / {{ return 200 "the legacy site\\n"; }}
}}
"""
HAPROXY = """\
global
  stats socket {sockets}/admin.sock mode 600 level admin
  maxconn 500
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
  option forwardfor
  retry-on conn-failure empty-response
frontend theirs
  bind {address}:8100
  default_backend legacy
backend legacy
  server one {address}:8180 check
"""
MORE = "backend unused\n  server one {address}:8180\n"


@dataclass
class Yours:
    """A folder with somebody's configuration, and the programs that run it."""

    folder: Path
    sockets: Path
    address: str
    haproxy_files: tuple[str, ...] = ("haproxy.cfg", "haproxy.d")
    """What HAProxy is started with, one `-f` each."""
    has_master: bool = True
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def write(self) -> None:
        """Write their files."""
        user = "user root;" if os.geteuid() == 0 else ""
        values = {"user": user, "folder": self.folder, "address": self.address, "sockets": self.sockets}
        texts = {
            "nginx.conf": NGINX,
            "conf.d/legacy.conf": LEGACY,
            "haproxy.cfg": HAPROXY,
            "haproxy.d/more.cfg": MORE,
        }
        for name, text in texts.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(text.format(**values))
        (self.folder / "mime.types").write_text("types {\n    text/html html;\n}\n")

    def start(self, *names: str) -> None:
        """Start programs and wait until they answer."""
        lines = {
            "nginx": ("nginx", "-c", str(self.folder / "nginx.conf"), "-g", "daemon off;"),
            "haproxy": ("haproxy", *(["-W"] if self.has_master else []), "-p", "haproxy.pid", *(word for name in self.haproxy_files for word in ("-f", name))),
        }
        for name in names:
            with (self.folder / f"{name}.out").open("ab") as log:
                self.processes[name] = subprocess.Popen(lines[name], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            port = {"nginx": 8180, "haproxy": 8100}[name]
            wait_until(lambda port=port: accepts(self.address, port), 10, f"{name} of {self.folder} answers")

    def end(self) -> None:
        """End them, with what they started."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)

    def hashes(self) -> dict[str, str]:
        """Return the digest of every file of theirs that they wrote themselves, Manor's beside them too."""
        names = [self.folder / name for name in ("nginx.conf", "haproxy.cfg", "mime.types")]
        every = [*names, *(self.folder / "conf.d").iterdir(), *(self.folder / "haproxy.d").iterdir()]
        return {str(path.relative_to(self.folder)): f"{path.stat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in every}

    def pids(self) -> dict[str, int]:
        """Return their masters."""
        return {name: int((self.folder / f"{name}.pid").read_text()) for name in ("nginx", "haproxy")}

    def log(self) -> str:
        """Return what their programs said."""
        return "\n".join(path.read_text() for path in (self.folder / "haproxy.out", self.folder / "nginx.out", self.folder / "error.log") if path.exists())

    def say(self, line: str) -> str:
        """Say a line to their HAProxy's socket and return the answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.sockets / "admin.sock"))
            connection.sendall(f"{line}\n".encode())
            parts = []
            while piece := connection.recv(65536):
                parts.append(piece)
        return b"".join(parts).decode()

    def reload_haproxy(self) -> None:
        """Reload HAProxy as its owner does, and wait until a new worker answers."""
        before = self.say("show info")
        os.kill(self.pids()["haproxy"], signal.SIGUSR2)
        pid = next(line for line in before.splitlines() if line.startswith("Pid:"))
        wait_until(lambda: pid not in self.asked("show info"), 10, "a new worker of theirs")

    def asked(self, line: str) -> str:
        """Return an answer of their HAProxy, or the old worker's line while nobody answers."""
        try:
            return self.say(line)
        except OSError:
            time.sleep(0.05)
            return self.say(line)


def accepts(address: str, port: int) -> bool:
    """Tell whether a port accepts connections."""
    try:
        socket.create_connection((address, port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def yours(folder: Path) -> Iterator[Yours]:
    """Give a folder of theirs, with short sockets, and end what was started in it."""
    folder.mkdir(parents=True)
    (folder / "temp").mkdir()
    sockets = Path(tempfile.mkdtemp(prefix="my-", dir="/tmp"))
    theirs = Yours(folder, sockets, fresh_address())
    theirs.write()
    try:
        yield theirs
    finally:
        theirs.end()
        shutil.rmtree(sockets)
