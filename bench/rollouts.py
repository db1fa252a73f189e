"""Requests lost in 20 rollouts under load, beside restarts in place and 20 reloads of each tier.

The same estate, service (1 s until it listens) and load for all: GET and POST over kept and over new TLS connections, never repeated.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.load import Load, Seen, both_ways, seen, start_load
from bench.results import Result
from bench.stage import PEERS, Stage, environ
from tests.e2e.estates import LiveEstate

NEW_A_SECOND = 100
RATES = (1000, 750, 500, 250)
"""Kept requests a second; the first one that this machine carries without the probe being late."""
LATE_SECONDS = 0.05
"""A probe whose 99th percentile is later than this does not send at its rate."""
HOSTS = ("web-1", "web-2")
GOAL = "0"

ESTATE = """\
estate: rollouts
domain: rollouts.example
services:
  echo:
    run:
      command: "python3 -m echo --bind {address}:{port} --keep-alive 75 --start-seconds 1"
      port: 8300
      keep_alive: 75s
      stop: {timeout: 5s}
    health: {http: /healthz, interval: 250ms, passes: 2}
    routes: [{host: echo}]
    rollout: {min_healthy: 50%, min_healthy_time: 0.5s, settle: 200ms, drain_timeout: 5s}
environments:
  prod: {hosts: {edge: 1, web: 2}}
traffic: {chain: [{balancer: haproxy}, {web: nginx}]}
"""
TIMINGS = (
    "1 edge with HAProxy, 2 hosts with nginx, one machine; health every 250 ms, 2 passes, min_healthy_time 0.5 s, settle 0.2 s; "
    "the service listens 1 s after its start. Each rollout asks for 1 s before it touches anything, waits up to 1 s a host until idle connections to the old "
    "slot are closed, and 1.5 s at its end until the tiers have written their logs, for the receipt"
)
PAUSE_SECONDS = 0.5
"""Between two changes."""
RESTARTS = 5
"""Of each of them hundreds of requests are lost: more would show nothing more."""


@dataclass(frozen=True)
class Trial:
    """What one kind of change cost."""

    what: str
    times: int
    seconds: float
    found: Seen


@dataclass
class Bed:
    """The estate under load."""

    stage: Stage
    estate: LiveEstate
    rate: int
    releases: list[Path]
    shipped: int = 1

    def ship(self) -> None:
        """Roll the other release out."""
        self.shipped += 1
        self.estate.run("ship", "echo", "--artifact", str(self.releases[self.shipped % 2]), "--commit", f"c{self.shipped}")

    def load(self, name: str) -> Load:
        """Start the load."""
        return start_load(self.stage, name, both_ways(self.estate, "prod", kept=self.rate, new=NEW_A_SECOND))

    def trial(self, what: str, times: int, change: str) -> Trial:
        """Do a change so often under load, and return what was lost."""
        load = self.load(change)
        time.sleep(2)
        begin = time.monotonic()
        for number in range(times):
            getattr(self, change)()
            self.stage.say(f"{what}: {number + 1} of {times}")
            time.sleep(PAUSE_SECONDS)
        trial = Trial(what, times, time.monotonic() - begin, seen(load.stop()))
        self.stage.say(f"{what}: {trial.found}")
        return trial

    def restart(self) -> None:
        """Restart the running program on each host in turn."""
        hosts = [f"{self.socket(host)}={self.listener(host)}" for host in HOSTS]
        script = [str(PEERS / "restart" / "restart.sh"), f"echo-{self.slot}", "/healthz", *hosts]
        supervisorctl = str(Path(sys.executable).with_name("supervisorctl"))
        subprocess.run(script, check=True, timeout=60, env={**environ(), "SUPERVISORCTL": supervisorctl}, stdout=subprocess.DEVNULL)

    def reload_haproxy(self) -> None:
        """Reload HAProxy in place: https://docs.haproxy.org/2.6/management.html#4."""
        self._signal("edge-1", "tier-0-balancer-haproxy", signal.SIGUSR2)

    def reload_nginx(self) -> None:
        """Reload nginx on each host: https://nginx.org/en/docs/control.html."""
        for host in HOSTS:
            self._signal(host, "tier-1-web-nginx", signal.SIGHUP)

    def _signal(self, host: str, program: str, number: signal.Signals) -> None:
        supervisorctl = str(Path(sys.executable).with_name("supervisorctl"))
        words = [supervisorctl, "-s", f"unix://{self.socket(host)}", "signal", number.name.removeprefix("SIG"), program]
        subprocess.run(words, check=True, timeout=20, stdout=subprocess.DEVNULL)

    @cached_property
    def slot(self) -> str:
        """The slot that serves; asked for when no rollout follows any more."""
        return next(iter(self.estate.serving("prod")))[-1]

    def socket(self, host: str) -> str:
        """Return the socket of a host's supervisord."""
        text = (self.estate.host_folder("prod", host) / "etc" / "supervisor" / "supervisord.conf").read_text()
        return str(re.findall(r"^file = (.*)$", text, re.MULTILINE)[0])

    def listener(self, host: str) -> str:
        """Return the URL of a host's web server for the slot that serves."""
        text = (self.estate.host_folder("prod", host) / "etc" / "1-web-nginx" / "nginx.conf").read_text()
        port = {"a": 18300, "b": 18301}[self.slot]
        return f"http://{re.findall(rf'listen ([0-9.]+:{port});', text)[0]}"


def measure(stage: Stage) -> list[Result]:
    """Measure all four under the same load."""
    bed = bring_up(stage)
    times = stage.choose(20, 2)
    ours = bed.trial("rollouts", times, "ship")
    peers = [
        bed.trial("restarts in place, host by host", stage.choose(RESTARTS, 2), "restart"),
        bed.trial("reloads of HAProxy", times, "reload_haproxy"),
        bed.trial("reloads of nginx, both hosts", times, "reload_nginx"),
    ]
    return [result(bed, ours, peer) for peer in peers]


def bring_up(stage: Stage) -> Bed:
    """Bring the estate up at the first release, and find the rate that this machine carries."""
    estate = stage.estate("rollouts", ESTATE)
    releases = stage.artifacts(2)
    estate.up()
    bed = Bed(stage, estate, 0, releases, shipped=0)
    bed.ship()
    for bed.rate in RATES:
        load = bed.load(f"calibrate-{bed.rate}")
        bed.ship()
        found = seen(load.stop())
        stage.say(f"{bed.rate} + {NEW_A_SECOND} requests/s in a first rollout: {found}")
        if found.lateness_p99 < LATE_SECONDS:
            break
    return bed


def result(bed: Bed, ours: Trial, peer: Trial) -> Result:
    """Return our losses beside a peer's."""
    slower = "" if bed.rate == RATES[0] else f" Not {RATES[0]:,} requests/s: at more the probe, which shares the cores with all tiers, sends late."
    lost = ours.found.lost
    return Result(
        benchmark="rollouts",
        name=f"requests lost in {ours.times} rollouts at {bed.rate:,} requests/s over kept TLS connections and {NEW_A_SECOND} new ones/s, GET and POST",
        value=lost,
        unit="requests",
        peer=f"{peer.times} {peer.what}",
        peer_value=peer.found.lost,
        ratio=None if not peer.found.lost else lost / peer.found.lost,
        goal=GOAL,
        met=lost == 0,
        note=f"{TIMINGS}.{slower} Rollouts, {ours.seconds:.0f} s: {ours.found}. {peer.what[0].upper()}{peer.what[1:]}, {peer.seconds:.0f} s: {peer.found}.",
    )
