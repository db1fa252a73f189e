"""Real estates for tests: a folder of their own, brought up by the command line and taken down whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.forked import forker
from tests.e2e.sweeping import MARK, THIS_RUN

ROOT = Path(__file__).parents[2]
WHEELS = ROOT / ".cache" / "wheelhouse"
ECHO = ROOT / "examples" / "echo"


def build_echo(folder: Path) -> Path:
    """Make an artifact folder of the echo service."""
    folder.mkdir(parents=True)
    shutil.copy(ECHO / "echo.py", folder)
    pip = ["-m", "pip", "install", "-q", "--no-index", "--no-warn-script-location", "--root-user-action=ignore"]
    subprocess.run(
        ["/usr/bin/env", "python3", *pip, "--find-links", str(WHEELS), "--target", str(folder / "lib"), "-r", str(ECHO / "requirements.txt")],
        check=True,
        timeout=120,
    )
    return folder


def release_of(echo: Path, folder: Path, version: str, **changes: str) -> Path:
    """Make another release of the echo artifact: the same code with another version file, or other files by name."""
    shutil.copytree(echo, folder)
    (folder / "VERSION").write_text(version)
    for name, text in changes.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


@dataclass
class LiveEstate:
    """An estate in a folder, worked through the command line."""

    folder: Path
    text: str
    env: Mapping[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    """Verbs that were started; what a failed test left of them is ended before the estate is taken down."""

    def __post_init__(self) -> None:
        """Write the estate, noted so that a later run ends it should this one be killed."""
        THIS_RUN.note(self.folder, self.env)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write(self.text)

    def write(self, text: str) -> None:
        """Change the estate."""
        (self.folder / "estate.yaml").write_text(text)

    def environ(self, **extra: str) -> dict[str, str]:
        """Return the environment of a command."""
        return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "MANOR_NO_CONTROLLER": "1", MARK: str(self.folder), **self.env, **extra}

    def command(self, *words: str) -> list[str]:
        """Return the argv of a verb."""
        return [sys.executable, "-m", "manor", *words]

    def run(self, *words: str, ok: tuple[int, ...] = (0,), timeout: float = 120, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end and hold its exit code."""
        done = self.carry_out(words, self.environ(**(env or {})), timeout)
        assert done.returncode in ok, f"manor {' '.join(words)}: exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def carry_out(self, words: Sequence[str], env: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end, whatever comes of it."""
        return subprocess.run(self.command(*words), cwd=self.folder, env=dict(env), capture_output=True, text=True, timeout=timeout)

    def start(self, *words: str, **extra: str) -> subprocess.Popen[str]:
        """Start a verb in a process group of its own."""
        process = subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            env=self.environ(**extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def results(self, *words: str, ok: tuple[int, ...] = (0,)) -> list[dict[str, Any]]:
        """Run a verb with --json and return its result objects."""
        out = self.run(*words, "--json", ok=ok).stdout
        return [row for line in out.splitlines() if (row := json.loads(line)).get("event") == "result"]

    def up(self) -> None:
        """Bring it up."""
        self.run("up")

    def down(self) -> None:
        """Take it down and forget it."""
        for process in self.started:
            end(process)
        self.run("down", "--purge", ok=(0, 2, 3, 7))
        THIS_RUN.forget(self.folder)

    def front(self, environment: str, service: str = "echo") -> tuple[str, int]:
        """Return the host name and TLS port of a service on 127.0.0.1."""
        row = next(row for row in self.results("up", "--wait", "30") if row["environment"] == environment)
        host, _, port = row["urls"][service].removeprefix("https://").rstrip("/").partition(":")
        return host, int(port.split("/")[0])

    @property
    def authority(self) -> Path:
        """The certificate that clients have to trust."""
        return self.folder / ".manor" / "state" / "ca" / "authority.pem"

    def host_folder(self, environment: str, host: str) -> Path:
        """Return a local host's folder."""
        return self.folder / ".manor" / "state" / "hosts" / environment / host

    def status(self, environment: str) -> dict[str, Any]:
        """Return how an environment stands."""
        return self.results("status", "-e", environment, ok=(0, 1))[0]

    def serving(self, environment: str, service: str = "echo") -> dict[str, str]:
        """Return the release of every slot that takes traffic, by server."""
        found = next(row for row in self.status(environment)["services"] if row["name"] == service)
        return {slot["server"]: slot["release"] for slot in found["slots"] if slot["seen"] == "ready" and slot["is_healthy"]}

    def certified(self, environment: str, service: str = "echo") -> str:
        """Return the certified release."""
        return str(next(row for row in self.status(environment)["services"] if row["name"] == service)["certified"])


class ForkedEstate(LiveEstate):
    """One whose verbs are carried out without importing Manor anew each time."""

    def carry_out(self, words: Sequence[str], env: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end, whatever comes of it."""
        return forker().run(words, self.folder, env, timeout)


def curl(estate: LiveEstate, host: str, port: int, path: str, *options: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    """Ask with other people's client."""
    words = ["curl", "-sS", "--cacert", str(estate.authority), "--resolve", f"{host}:{port}:127.0.0.1", *options, f"https://{host}:{port}{path}"]
    return subprocess.run(words, capture_output=True, text=True, timeout=timeout)


def wait_until(holds: Any, seconds: float, what: str) -> None:
    """Wait until something holds, at most so long."""
    limit = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < limit, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)


def end(process: subprocess.Popen[str]) -> None:
    """End a process that a test started, with its group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    if process.stdout:
        process.stdout.close()
