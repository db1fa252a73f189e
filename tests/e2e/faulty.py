"""One estate to break things in: what is shipped to it, what is seen from outside meanwhile, and what it must look like in the end."""

from __future__ import annotations

import http.client
import json
import os
import queue
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manor.observe.probe.model import ProbeConfig, Target
from manor.observe.probe.process import argv
from manor.observe.probe.results import read_results
from manor.observe.probe.summary import ProbeResult, measured_outage, summarize
from manor.observe.window import Window
from tests.e2e.estates import LiveEstate, curl, end, wait_until
from tests.e2e.orphans import orphans_of

ESTATE = """\
estate: faults
domain: faults.example
services:
  echo:
    run: {command: "python3 -m echo --bind {address}:{port} --keep-alive 75", port: 8300, keep_alive: 75s}
    health: {http: /healthz, interval: 250ms, passes: 3}
    routes: [{host: echo}]
    probe: [{method: GET, path: /probed, rate: 20}]
    rollout: {min_healthy_time: 0s, settle: 0s, drain_timeout: 2s, bake: 1s, instance_deadline: 5s}
traffic: {chain: [{balancer: haproxy}, {web: nginx}]}
environments:
  prod: {hosts: {edge: 1, web: 2}}
"""
RATE = 30.0
"""Requests a second of each of GET and POST; half of them on new connections."""
LEAST_SECONDS = 1.5
"""So long is watched at least: something can be lost after a verb has ended, too."""

WRAPPED = """\
import os, sys
os.environ.update({changes!r})
import plain
sys.exit(plain.main(sys.argv[1:], os.environ))
"""


@dataclass
class Faulty:
    """A running estate, its releases, and what is certified in it."""

    estate: LiveEstate
    echo: Path
    folder: Path
    host: str = ""
    port: int = 0
    certified: str = ""
    """What was certified last."""
    service: str = "echo"
    others: tuple[tuple[str, int], ...] = ()
    """Address and TLS port of further front doors."""

    def begin(self) -> Faulty:
        """Bring it up with a first release."""
        self.estate.up()
        self.host, self.port = self.estate.front("prod", self.service)
        self.ship("first")
        self.certified = self.estate.certified("prod", self.service)
        return self

    def artifact(self, version: str, **environ: str) -> Path:
        """Make an artifact; `environ` says how it misbehaves (examples/echo)."""
        target = self.folder / version
        if not target.exists():
            shutil.copytree(self.echo, target)
            (target / "VERSION").write_text(version)
            if environ:
                (target / "echo.py").rename(target / "plain.py")
                (target / "echo.py").write_text(WRAPPED.format(changes=environ))
        return target

    def words(self, version: str, **environ: str) -> tuple[str, ...]:
        """Return the verb that ships a version."""
        return ("ship", self.service, "--artifact", str(self.artifact(version, **environ)))

    def ship(self, version: str, *, ok: tuple[int, ...] = (0,), **environ: str) -> subprocess.CompletedProcess[str]:
        """Ship a version."""
        return self.estate.run(*self.words(version, **environ), ok=ok)

    def start(self, *words: str, **environ: str) -> Verb:
        """Start a verb, to be watched step by step."""
        return Verb(self.estate.start(*words, "--json", **environ))

    def host_folder(self, host: str) -> Path:
        """Return a host's folder."""
        return self.estate.host_folder("prod", host)

    def status(self) -> dict[str, Any]:
        """Return how it stands."""
        return self.estate.status("prod")

    def answer(self, path: str = "/", *options: str) -> str:
        """Ask through the front door."""
        return curl(self.estate, self.host, self.port, path, *options).stdout

    @contextmanager
    def watched(self, seconds: float = 120.0) -> Iterator[Watch]:
        """Ask from outside, all the time, while the body breaks things; so long at the most."""
        watch = Watch(self, self.folder / f"watch-{time.monotonic_ns()}", seconds)
        watch.start()
        try:
            yield watch
        finally:
            watch.stop()

    def require_well(self, release: str) -> None:
        """Hold that everything ended as it may: this release on every host, nobody holds anything, nothing is left over."""
        self.certified = release
        done = self.estate.run("status", "-e", "prod", "--json", ok=(0, 1))
        status = json.loads(done.stdout.splitlines()[-1])
        assert done.returncode == 0, status
        assert status["held"] == [], status["held"]
        assert status["unfinished"] == [], status["unfinished"]
        service = next(row for row in status["services"] if row["name"] == self.service)
        assert service["certified"] == release
        slots = service["slots"]
        serving = {slot["host"]: slot["release"] for slot in slots if slot["seen"] == "ready"}
        assert serving == {"web-1": release, "web-2": release}, slots
        assert all(slot["is_healthy"] for slot in slots if slot["seen"] == "ready"), slots
        words = {(slot["remembered"], slot["seen"]) for slot in slots}
        assert words == {("ready", "ready"), ("none", "maint")}, slots
        limit = time.monotonic() + 5
        while left := orphans_of(self.estate.folder):
            assert time.monotonic() < limit, left
            time.sleep(0.2)


@dataclass
class Verb:
    """A verb under way, told by its events."""

    process: subprocess.Popen[str]
    events: list[dict[str, Any]] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read in a thread."""
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _next(self, limit: float) -> dict[str, Any] | None:
        line = self._lines.get(timeout=max(0.1, limit - time.monotonic()))
        if line is None:
            return None
        if not line.startswith("{"):
            self.other.append(line)
            return {}
        self.events.append(json.loads(line))
        return self.events[-1]

    def until(self, kind: str, what: str = "intent", host: str = "", seconds: float = 30) -> None:
        """Wait until a step is begun (or `done`)."""
        limit = time.monotonic() + seconds
        while (event := self._next(limit)) is not None:
            if event.get("kind") == kind and event.get("event") == what and host in event.get("host", ""):
                return
        raise AssertionError(f"{kind} {what} never came: {self.told()}")

    def finish(self, seconds: float = 60) -> int:
        """Wait for its end; return its exit code."""
        limit = time.monotonic() + seconds
        while self._next(limit) is not None:
            pass
        code = self.process.wait(10)
        end(self.process)
        return code

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Kill it as no handler can catch."""
        self.process.kill()
        self.finish()

    def told(self) -> str:
        """Return all that it said."""
        return "\n".join([*self.other, *(json.dumps(event) for event in self.events if event.get("event") != "intent")])


@dataclass
class Watch:
    """What is seen from outside: a probe process, and which releases answer."""

    faulty: Faulty
    folder: Path
    seconds: float
    releases: set[str] = field(default_factory=set)
    result: ProbeResult | None = None
    outage_seconds: float = 0.0

    def start(self) -> None:
        """Begin, and wait for the first results."""
        self.folder.mkdir()
        doors = (("127.0.0.1", self.faulty.port), *self.faulty.others)
        config = ProbeConfig(
            targets=tuple(self._target(method, *door) for method in ("GET", "POST") for door in doors),
            results=str(self.folder / "results"),
            stop_file=str(self.folder / "stop"),
            deadline=time.time() + self.seconds,
        )
        (self.folder / "config.json").write_text(config.model_dump_json())
        self._process = subprocess.Popen(argv(str(self.folder / "config.json")), env=self.faulty.estate.environ(), start_new_session=True, text=True)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        wait_until(lambda: (self.folder / "results").exists() and self.releases, 10, "the probe runs")
        self._began = time.monotonic()

    def _target(self, method: str, address: str, port: int) -> Target:
        return Target(
            name=f"{method} {address}",
            address=address,
            port=port,
            host=self.faulty.host,
            rate=RATE,
            method=method,
            paths=("/watched",),
            body="body" if method == "POST" else "",
            ca_file=str(self.faulty.estate.authority),
            expected=(200,),
        )

    def _sample(self) -> None:
        context = ssl.create_default_context(cafile=str(self.faulty.estate.authority))
        context.check_hostname = False
        while not self._stopping.wait(0.1):
            connection = http.client.HTTPSConnection("127.0.0.1", self.faulty.port, context=context, timeout=5)
            try:
                connection.request("GET", "/who", headers={"Host": self.faulty.host})
                self.releases.add(connection.getresponse().headers.get("x-echo-release", ""))
            except (OSError, http.client.HTTPException):
                self.releases.add("")
            finally:
                connection.close()

    def stop(self) -> None:
        """End it and sum up; a verb that refuses at once is watched for a while all the same."""
        time.sleep(max(0.0, self._began + LEAST_SECONDS - time.monotonic()))
        (self.folder / "stop").touch()
        self._process.wait(30)
        self._stopping.set()
        self._thread.join(10)
        recording = read_results(self.folder / "results")
        window = Window(min(each.due for each in recording.outcomes), max(each.due for each in recording.outcomes) + 1e-6)
        self.result = summarize(recording.outcomes, recording.config, window)
        outage = measured_outage(recording.outcomes, window)
        self.outage_seconds = outage.seconds if outage else 0.0

    def require_nothing_lost(self, *releases: str) -> None:
        """Hold that everything was answered, by these releases alone."""
        assert self.result is not None
        assert self.result.sent > RATE, self.result
        assert self.result.lost == 0, self.result.losses
        assert self.releases == set(releases)

    def require_bounded(self, lost: int, seconds: float) -> None:
        """Hold that no more than so many were lost, and none for longer than so long."""
        assert self.result is not None
        assert self.result.lost <= lost, (self.result.lost, self.outage_seconds, self.result.losses[:5], self.result.losses[-5:])
        assert self.outage_seconds <= seconds, (self.outage_seconds, self.result.losses)


def kill(pid: int) -> None:
    """Kill a process of the estate."""
    os.kill(pid, signal.SIGKILL)
