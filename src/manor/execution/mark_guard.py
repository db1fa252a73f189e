"""A program of its own: returns servers to traffic when nobody renews the marks that took them out (docs/rollout.md, marks with guards).

Usage: python3 -I -S mark_guard.py FOLDER NAME.mark EXPIRY_SECONDS. It is copied to the balancer's host, and needs nothing but Python.

FOLDER/marks/*.mark    {"server", "operation", "renewed", "instead"}; it ends when this file is gone
FOLDER/ways.json       {"checks": {server: check}, "ways": [{"servers": […], "acts": […]}]}, the way with most servers first
FOLDER/returned.json   {mark: the "renewed" that had run out, and when}: what guards did

Invariant: acts only on marks whose `renewed` did not change for the expiry, by this program's own steady clock.
"""

from __future__ import annotations

import base64
import fcntl
import http.client
import json
import os
import shutil
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.5


class Guard:
    """Watches one mark; when it runs out, looks at all marks of the service."""

    def __init__(self, folder: Path, mark: str, expiry_seconds: float) -> None:
        """Watch `mark` in `folder`."""
        self.folder = folder
        self.mark = mark
        self.expiry_seconds = expiry_seconds
        self.seen: dict[str, tuple[float, float]] = {}

    def watch(self) -> None:
        """Watch until the mark is taken away."""
        while self.mark in (marks := self.look()):
            if self.is_stale(self.mark) and self.mark not in self.returned(marks):
                try:
                    self.put_back()
                except OSError as error:
                    say(f"not returned: {error}")
            time.sleep(min(POLL_SECONDS, self.expiry_seconds / 4))

    def look(self) -> dict[str, Any]:
        """Return the marks, and note since when each is as it is."""
        marks = {path.name: found for path in (self.folder / "marks").glob("*.mark") if (found := read(path))}
        for name, mark in marks.items():
            if name not in self.seen or self.seen[name][0] != mark["renewed"]:
                self.seen[name] = (mark["renewed"], time.monotonic())
        return marks

    def is_stale(self, name: str) -> bool:
        """Tell whether nobody renewed a mark for too long."""
        return time.monotonic() - self.seen[name][1] >= self.expiry_seconds

    def returned(self, marks: dict[str, Any]) -> set[str]:
        """Return the marks whose servers were returned since they were renewed."""
        record = read(self.folder / "returned.json")
        return {name for name, mark in marks.items() if record.get(name, {}).get("renewed") == mark["renewed"]}

    def put_back(self) -> None:
        """Take the first way that returns something and nothing that should stay out."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            marks, plan = self.look(), read(self.folder / "ways.json")
            done = {marks[name]["server"] for name in self.returned(marks)}
            able = {mark["server"] for name, mark in marks.items() if self.is_stale(name) and may_return(mark, plan["checks"])}
            for way in plan["ways"]:
                servers = set(way["servers"])
                if done < servers <= able | done:
                    for act in way["acts"]:
                        carry_out(act)
                    return self.record(marks, servers)
        return None

    def record(self, marks: dict[str, Any], servers: set[str]) -> None:
        """Keep what was done for whoever goes on."""
        now = time.time()
        done = {name: {"renewed": mark["renewed"], "at": now} for name, mark in marks.items() if mark["server"] in servers}
        known = read(self.folder / "returned.json")
        put(self.folder / "returned.json", json.dumps({**known, **done}, indent=1).encode(), 0o644)
        say(f"returned {', '.join(sorted(servers))}: nobody renewed the mark for {self.expiry_seconds:g} s")


def may_return(mark: dict[str, Any], checks: dict[str, Any]) -> bool:
    """Tell whether a server works, and nothing that was admitted in its place does."""
    return passes(checks[mark["server"]]) and not any(passes(checks[server]) for server in mark["instead"])


def passes(check: dict[str, Any]) -> bool:
    """Check a server's health once."""
    try:
        if "path" not in check:
            socket.create_connection((check["address"], check["port"]), check["timeout"]).close()
            return True
        connection = http.client.HTTPConnection(check["address"], check["port"], timeout=check["timeout"])
        try:
            connection.request("GET", check["path"], headers=check["headers"])
            return connection.getresponse().status == int(check["status"])
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return False


def carry_out(act: dict[str, Any]) -> None:
    """Carry one act out. Raises OSError."""
    if act["do"] == "say":
        talk(act)
        return
    path = Path(act["path"])
    if act["do"] == "put":
        put(path, base64.b64decode(act["content"]), act["mode"])
    elif act["do"] == "link":
        link(path, act["target"])
    elif act["do"] == "folder":
        path.mkdir(mode=act["mode"], parents=True, exist_ok=True)
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def talk(act: dict[str, Any]) -> None:
    """Say a line to a socket and wait for the end of the answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(act["timeout"])
        connection.connect(act["socket"])
        connection.sendall(act["line"].encode() + b"\n")
        while piece := connection.recv(65536):
            say(piece.decode("utf-8", "replace").strip())


def put(path: Path, content: bytes, mode: int) -> None:
    """Write a file: beside it, to the disk, renamed, the folder to the disk."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    beside.replace(path)
    sync(path.parent)


def link(path: Path, target: str) -> None:
    """Switch a symbolic link by rename."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    beside.replace(path)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Bring a folder's entries to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path) -> dict[str, Any]:
    """Return the object in a file; empty if it is not there."""
    with suppress(FileNotFoundError):
        found: dict[str, Any] = json.loads(path.read_bytes())
        return found
    return {}


def say(text: str) -> None:
    """Write a line to the log."""
    if text:
        sys.stdout.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    Guard(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])).watch()
