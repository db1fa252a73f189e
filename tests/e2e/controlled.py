"""An estate with a controller, a repository that pushes to it, and what became of each commit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from manor.state import journal, operations, releases, runs
from manor.state.operations import Operation
from manor.state.runs import Run
from manor.state.store import Store
from tests.e2e.estates import LiveEstate, end, wait_until

DELIVERY_SECONDS = 120.0
WHO = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@acme.example", "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@acme.example"}
PUSHER = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
PIPELINE = """\
timeout: 5m
steps:
  build:
    run:
      - echo "$MANOR_COMMIT" >> {ledger}/begun
      - sleep "$(cat pause)"
      - cp -r {echo}/lib lib
      - echo "$MANOR_COMMIT" >> {ledger}/built
    outputs: [lib]
  test:
    test: sh test.sh
    junit: report.xml
  package:
    artifact: {{include: [lib, echo.py, VERSION]}}
"""
TEST = """\
number=0
if [ -e fails ]; then number=1; bad='<failure message="it does not add up"/>'; fi
echo "<testsuite name='shop' tests='1' failures='$number'><testcase classname='shop' name='adds'>$bad</testcase></testsuite>" > report.xml
"""


@dataclass
class Controlled:
    """`manor serve` over an estate; may be killed and started again."""

    estate: LiveEstate
    tree: Path
    echo: Path
    process: subprocess.Popen[bytes] | None = None
    token: str = ""
    url: str = ""
    commits: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """The state folder."""
        return self.estate.folder / ".manor" / "state"

    @property
    def log(self) -> Path:
        """What the controllers have said."""
        return self.estate.folder / "serve.log"

    def start(self, **extra: str) -> float:
        """Start it; return the seconds until it answers."""
        began, known = time.monotonic(), len(self.log.read_text()) if self.log.exists() else 0
        with self.log.open("ab") as out:
            command = self.estate.command("serve", "-v")
            self.process = subprocess.Popen(
                command, cwd=self.estate.folder, env=self.estate.environ(**extra), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        wait_until(lambda: "serving " in self.log.read_text()[known:] or self.is_gone, 30, "the controller's start")
        said = self.log.read_text()[known:]
        assert not self.is_gone, said[-3000:]
        for line in said.splitlines():
            if "shown this once" in line:
                self.token = line.split(": ", 1)[1]
            if line.startswith("serving "):
                self.url = line.rsplit(" on ", 1)[1]
        return time.monotonic() - began

    @property
    def is_gone(self) -> bool:
        """Tell whether it has ended."""
        return self.process is not None and self.process.poll() is not None

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """End it in order; return its exit code."""
        assert self.process
        if not self.is_gone:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def git(self, *words: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run git in the work tree."""
        done = subprocess.run(["git", *words], cwd=self.tree, env={**PUSHER, **WHO}, capture_output=True, text=True, timeout=DELIVERY_SECONDS * 2, check=False)
        assert not ok or done.returncode == 0, done.stdout + done.stderr
        return done

    def make_tree(self) -> None:
        """Make a repository with a pipeline, not committed."""
        (self.tree / ".manor").mkdir(parents=True)
        (self.estate.folder / "ledger").mkdir()
        (self.tree / ".manor" / "pipeline.yaml").write_text(PIPELINE.format(ledger=self.estate.folder / "ledger", echo=self.echo))
        (self.tree / "test.sh").write_text(TEST)
        (self.tree / "echo.py").write_text((self.echo / "echo.py").read_text())
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "origin", self.remote())

    def remote(self) -> str:
        """Return where to push to."""
        return f"{self.url.replace('//', f'//ada:{self.token}@')}/git/shop.git"

    def commit(self, *, fails: bool = False, pause: float = 0) -> str:
        """Commit another version; return its name."""
        (self.tree / "VERSION").write_text(f"{len(self.commits)}\n")
        (self.tree / "pause").write_text(f"{pause:g}\n")
        (self.tree / "fails").unlink(missing_ok=True)
        if fails:
            (self.tree / "fails").write_text("yes\n")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", f"Version {len(self.commits)}")
        self.commits.append(self.git("rev-parse", "HEAD").stdout.strip())
        return self.commits[-1]

    def push(self, *words: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Push what is committed, and follow it."""
        return self.git("push", *words, self.remote(), "main", ok=ok)

    def push_in_background(self) -> subprocess.Popen[str]:
        """Begin a push in a session of its own."""
        return subprocess.Popen(
            ["git", "push", self.remote(), "main"],
            cwd=self.tree,
            env={**PUSHER, **WHO},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def runs_of(self, commit: str) -> list[Run]:
        """Return the runs of a commit."""
        with Store.open(self.folder) as store:
            return [run for run in store.read_now(runs.recent, limit=1000) if run.commit == commit]

    def operations(self, environment: str) -> list[Operation]:
        """Return the rollouts in an environment, oldest first."""
        with Store.open(self.folder) as store:
            return [one for one in reversed(store.read_now(operations.recent, environment, limit=1000)) if one.service]

    def events(self, operation: str) -> int:
        """Return how many lines an operation's journal has."""
        with Store.open(self.folder) as store:
            return len(store.read_now(journal.history, operation))

    def delivered(self, commit: str) -> None:
        """Wait until a commit's run ends, and hold that it was delivered exactly once."""
        wait_until(lambda: [run for run in self.runs_of(commit) if run.state not in ("waiting", "running")], DELIVERY_SECONDS, f"the end of {commit[:12]}")
        found = self.runs_of(commit)
        assert [(run.state, run.ref) for run in found] == [("passed", "refs/heads/main")], found
        for environment in ("dev", "prod"):
            ends = [(one.verb, one.state) for one in self.operations(environment) if self.release_of(found[0]) == self.release_in(one)]
            assert ends == [("ship", "done")], (environment, ends)
        built = (self.estate.folder / "ledger" / "built").read_text().split()
        assert built.count(commit) == 1, "the build was done twice"

    def release_of(self, run: Run) -> str:
        """Return the release that a run's artifact became."""
        with Store.open(self.folder) as store:
            return next((row.id[:12] for row in store.read_now(releases.recent_releases, "shop", 1000) if row.artifact == run.artifact), "")

    @staticmethod
    def release_in(operation: Operation) -> str:
        """Return the release that an operation rolls out."""
        return str(json.loads(operation.arguments)["release"])

    def wait_for_operation(self, environment: str, known: int, moment: Callable[[Operation], bool]) -> Operation:
        """Wait until a new rollout in an environment is at a moment."""

        def at() -> list[Operation]:
            return [one for one in self.operations(environment)[known:] if moment(one)]

        wait_until(at, DELIVERY_SECONDS, f"a rollout in {environment}")
        return at()[0]

    def close(self) -> None:
        """End it whatever happens."""
        if self.process is not None and not self.is_gone:
            try:
                self.stop()
            finally:
                if not self.is_gone:
                    self.kill()


def end_push(process: subprocess.Popen[str]) -> str:
    """Wait for a push that lost its server; return what it said."""
    try:
        out, _ = process.communicate(timeout=30)
        return out
    finally:
        end(process)
