"""A controller as a process of its own, and git's real client against it."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from manor.state import runs, tokens
from manor.state.runs import Run
from manor.state.store import Store

ROOT = Path(__file__).parents[2]
ADDRESS = "127.205.0.1"
LARGEST = 60_000_000
LIMIT_SECONDS = 60.0
PUSHER = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
WHO = {"GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@acme.example", "GIT_COMMITTER_NAME": "Ann", "GIT_COMMITTER_EMAIL": "ann@acme.example"}


def free_port() -> int:
    """Return a port that nobody uses now."""
    with closing(socket.socket()) as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


@dataclass
class Controller:
    """One controller over one state folder; may be killed and started again."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None

    @property
    def repository(self) -> Path:
        """The hosted repository `shop`."""
        return self.folder / "repositories" / "shop.git"

    @property
    def admin(self) -> str:
        """The first admin's token."""
        return (self.folder / "token").read_text()

    def start(self, *words: str) -> None:
        """Start, and return when it listens."""
        argv = [sys.executable, "-m", "tests.web.git_serving", str(self.folder), ADDRESS, str(self.port), str(LARGEST), *words]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                argv, cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}"}, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n", (self.folder / "log").read_text()[-2000:]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal and return its exit code."""
        assert self.process
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(LIMIT_SECONDS)
        if self.process.stdout:
            self.process.stdout.close()
        return code

    def url(self, token: str | None = None, name: str = "shop") -> str:
        """Return where git pushes to, as the owner of a token."""
        return f"http://any:{token or self.admin}@{ADDRESS}:{self.port}/git/{name}.git"

    def token(self, *scopes: str) -> str:
        """Return a new token."""
        with Store.open(self.folder) as store:
            return store.write_now(lambda link: tokens.issue(link, f"t-{secrets.token_hex(4)}", scopes, "test", at=time.time())).value

    def revoke(self, token: str) -> None:
        """Revoke a token."""
        with Store.open(self.folder) as store:
            row = store.read_now(lambda link: tokens.check(link, token, now=time.time()))
            assert row
            store.write_now(lambda link: tokens.revoke(link, row.name, "test", at=time.time()))

    def runs(self) -> dict[str, Run]:
        """Return the runs by commit."""
        with Store.open(self.folder) as store:
            return {run.commit: run for run in store.read_now(runs.recent, limit=1000)}

    def sound(self) -> None:
        """Assert that the repository is whole."""
        checked = git(self.repository, "fsck", "--full", "--strict", ok=False)
        assert checked.returncode == 0, checked.stderr
        assert "missing" not in checked.stdout
        assert "broken" not in checked.stdout


@contextmanager
def controller(folder: Path, *words: str) -> Iterator[Controller]:
    """Give a running controller; it is ended afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    running = Controller(folder)
    running.start(*words)
    try:
        yield running
    finally:
        running.stop()


def git(folder: Path, *words: str, ok: bool = True, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run git's client in a folder."""
    done = subprocess.run(["git", *words], cwd=folder, env={**PUSHER, **WHO, **(env or {})}, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert not ok or done.returncode == 0, done.stderr
    return done


def start_git(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start git's client in a session of its own."""
    return subprocess.Popen(
        ["git", *words], cwd=folder, env={**PUSHER, **WHO}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def work_tree(folder: Path) -> Path:
    """Return a new repository with one commit on `main`."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "unique").write_text(secrets.token_hex(8))
    commit(folder, "one")
    return folder


def commit(folder: Path, text: str, *, megabytes: int = 0) -> str:
    """Make a commit, with an incompressible file if wanted, and return its name."""
    (folder / "file").write_text(text)
    if megabytes:
        (folder / "large").write_bytes(os.urandom(megabytes * 1_000_000))
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", text)
    return head(folder)


def head(folder: Path, ref: str = "HEAD") -> str:
    """Return the commit that a ref stands at."""
    return git(folder, "rev-parse", "--verify", ref).stdout.strip()


def refs(folder: Path) -> dict[str, str]:
    """Return ref → commit."""
    lines = git(folder, "for-each-ref", "--format=%(refname) %(objectname)").stdout.splitlines()
    return dict(line.split(" ", 1) for line in lines)


def children(pid: int) -> Sequence[int]:
    """Return the processes that a process has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == pid:
                found.append(int(entry.name))
    return found


def until(condition: object, seconds: float = 20.0) -> None:
    """Wait until a condition holds."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


def end_group(process: subprocess.Popen[str]) -> None:
    """Kill a client with all that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


class Stall:
    """A way to the controller that lets so many bytes of the client pass and swallows the rest; answers pass."""

    def __init__(self, target: Controller, allowed: int) -> None:
        """Stand before `target`."""
        self._target, self._left = target, allowed
        self._listener = socket.create_server((ADDRESS, 0))
        self.port = self._listener.getsockname()[1]
        self.has_stalled = threading.Event()
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection((ADDRESS, self._target.port))
                self._open += [near, far]
                threading.Thread(target=self._carry, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._carry, args=(far, near, False), daemon=True).start()

    def _carry(self, source: socket.socket, to: socket.socket, is_counted: bool) -> None:
        with suppress(OSError):
            while chunk := source.recv(65536):
                self._left -= len(chunk) if is_counted else 0
                if is_counted and self._left < 0:
                    self.has_stalled.set()
                    continue
                to.sendall(chunk)
            to.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close every connection."""
        for each in self._open:
            each.close()
