"""A local estate of 50 hosts: seconds until all serve, memory, and seconds of a rollback until the first and the last host serve the certified release."""

from __future__ import annotations

import http.client
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.results import Result
from bench.stage import Stage, pids_of
from tests.e2e.estates import LiveEstate

HOSTS = 50
QUICK_HOSTS = 6
ASK_EVERY_SECONDS = 0.01
UP_GOAL_SECONDS, MEMORY_GOAL_BYTES = 60, 4 * 10**9
FIRST_GOAL_SECONDS, ALL_GOAL_SECONDS = 10, 60

ESTATE = """\
estate: fifty
domain: fifty.example
services:
  echo:
    run: {{command: "python3 -m echo --bind {{address}}:{{port}} --keep-alive 75", port: 8300, keep_alive: 75s, stop: {{timeout: 5s}}}}
    health: {{http: /healthz, interval: 1s, passes: 2}}
    routes: [{{host: echo}}]
    rollout: {{min_healthy: 75%, min_healthy_time: 0.5s, settle: 200ms, drain_timeout: 5s}}
environments:
  prod: {{hosts: {{edge: 1, web: {hosts}}}}}
traffic: {{chain: [{{balancer: haproxy}}, {{web: nginx}}]}}
"""
TIMINGS = "health every 1 s, 2 passes, min_healthy 75 %, min_healthy_time 0.5 s (0 in a rollback), settle 0.2 s; all on the cores of one machine"


@dataclass
class Watcher:
    """Asks the front door all the time and notes which release answered."""

    address: tuple[str, int]
    host: str
    ca_file: str
    seen: list[tuple[float, str]] = field(default_factory=list)
    lost: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask until stopped."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.check_hostname = False
        connection = http.client.HTTPSConnection(*self.address, context=context, timeout=10)
        while not self.stopped.wait(ASK_EVERY_SECONDS):
            try:
                connection.request("GET", "/watch", headers={"Host": self.host})
                answer = connection.getresponse()
                answer.read()
                self.seen.append((time.monotonic(), answer.getheader("x-echo-release") or ""))
                self.lost += answer.status != 200
            except (OSError, http.client.HTTPException):
                self.lost += 1
                connection.close()

    def first_and_last(self, since: float) -> tuple[float, float]:
        """Return after how many seconds the last answer's release answered first, and when another one did for the last time."""
        target = self.seen[-1][1]
        first = next(at for at, release in self.seen if at >= since and release == target)
        other = max(at for at, release in self.seen if release != target)
        return first - since, other - since


@contextmanager
def watching(estate: LiveEstate) -> Iterator[Watcher]:
    """Watch an environment's front door."""
    host, port = estate.front("prod")
    watcher = Watcher(("127.0.0.1", port), host, str(estate.authority))
    thread = threading.Thread(target=watcher.run, daemon=True)
    thread.start()
    try:
        yield watcher
    finally:
        watcher.stopped.set()
        thread.join(15)


@dataclass(frozen=True)
class Times:
    """Seconds of everything."""

    hosts: int
    up: float
    first_release: float
    memory_bytes: int
    second_release: float
    rollback: float
    first_host: float
    all_hosts: float
    asked: int
    kinds: str


def measure(stage: Stage) -> list[Result]:
    """Bring it up, ship twice, roll back."""
    hosts = stage.choose(HOSTS, QUICK_HOSTS)
    estate = stage.estate("fifty", ESTATE.format(hosts=hosts))
    releases = stage.artifacts(2)
    up = timed(stage, f"{hosts} hosts up", estate.up)
    first = timed(stage, "first release on all", lambda: ship(estate, releases[0], "c1"))
    memory = pss_bytes(estate.folder)
    second = timed(stage, "second release on all", lambda: ship(estate, releases[1], "c2"))
    with watching(estate) as watcher:
        time.sleep(1)
        since = time.monotonic()
        whole = timed(stage, "rollback", lambda: roll_back(estate))
        time.sleep(1)
    assert watcher.lost == 0, f"{watcher.lost} requests lost in the rollback"
    soon, late = watcher.first_and_last(since)
    found = Times(hosts, up, first, memory, second, whole, soon, late, len(watcher.seen), time_by_kind(estate))
    stage.say(str(found))
    return results_of(found)


def results_of(times: Times) -> list[Result]:
    """Return the results with their goals."""
    at = f"{times.hosts} hosts"
    return [
        in_seconds(
            f"local estate of {at}, nginx and one small service each: from nothing until all serve",
            times.up + times.first_release,
            UP_GOAL_SECONDS,
            f"`up` {times.up:.1f} s, then the first release on all of them {times.first_release:.1f} s; {TIMINGS}.",
        ),
        Result(
            "fifty",
            f"memory of a local estate of {at}, nginx and one small service each",
            round(times.memory_bytes / 1e9, 2),
            "GB",
            goal=f"< {MEMORY_GOAL_BYTES / 1e9:g} GB",
            met=times.memory_bytes < MEMORY_GOAL_BYTES,
            note="Proportional set size of all its processes (supervisords, tiers, programs).",
        ),
        in_seconds(
            f"rollback on {at}: until the first host serves the certified release",
            times.first_host,
            FIRST_GOAL_SECONDS,
            f"Seen at the front door, asked all the time by one client, {times.asked} requests, none lost; {TIMINGS}.",
        ),
        in_seconds(
            f"rollback on {at}: until no host serves the other release any more",
            times.all_hosts,
            ALL_GOAL_SECONDS,
            f"The verb ended after {times.rollback:.1f} s; the rollout before, forward, took {times.second_release:.1f} s. "
            f"By kind of step, stages of the rollback: {times.kinds}.",
        ),
    ]


def time_by_kind(estate: LiveEstate) -> str:
    """Return the newest operation's time by kind of step: from the first begun to the last done of each stage."""
    stages = (
        "SELECT kind, max(done_at) - min(intent_at) AS took FROM steps WHERE operation = "
        "(SELECT id FROM operations ORDER BY created_at DESC LIMIT 1) AND done_at IS NOT NULL GROUP BY stage, kind"
    )
    connection = sqlite3.connect(f"file:{estate.folder / '.manor' / 'state' / 'state.db'}?mode=ro", uri=True, timeout=5)
    try:
        rows = connection.execute(f"SELECT kind, sum(took), count(*) FROM ({stages}) GROUP BY kind ORDER BY 2 DESC").fetchall()
    finally:
        connection.close()
    return ", ".join(f"{kind} {seconds:.1f} s in {stages}" for kind, seconds, stages in rows)


def in_seconds(name: str, value: float, goal: float, note: str) -> Result:
    """Return a duration with its goal."""
    return Result("fifty", name, round(value, 1), "s", goal=f"< {goal:g} s", met=value < goal, note=note)


def ship(estate: LiveEstate, artifact: Path, commit: str) -> None:
    """Roll an artifact out."""
    estate.run("ship", "echo", "--artifact", str(artifact), "--commit", commit, timeout=400)


def roll_back(estate: LiveEstate) -> None:
    """Return to the certified release."""
    estate.run("rollback", "echo", "-e", "prod", timeout=300)


def timed(stage: Stage, what: str, do: Callable[[], None]) -> float:
    """Do something and return how long it took."""
    begin = time.monotonic()
    do()
    stage.say(f"{what}: {time.monotonic() - begin:.1f} s")
    return time.monotonic() - begin


def pss_bytes(folder: Path) -> int:
    """Return the proportional set size of an estate's processes: https://docs.kernel.org/filesystems/proc.html (smaps_rollup)."""
    return sum(pss_of(pid) for pid in pids_of(folder))


def pss_of(pid: int) -> int:
    """Return a process's share of memory; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
