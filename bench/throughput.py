"""Traffic through rendered chains, and cache hits at Varnish's listener, beside the same tiers configured by hand.

Both stand side by side, on the same machine, before the same program, with the same certificate, and are measured in turns; the median of the ratios counts.
"""

from __future__ import annotations

import re
import statistics
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.load import median_ratio, wrk
from bench.machine import tool
from bench.results import ROOT, Result
from bench.stage import PEERS, Stage, fill, free_port, listens, wait_for
from tests.e2e.estates import LiveEstate

FAST = ROOT / "bench" / "fast"
CONNECTIONS = 32
SECONDS = 4
LOCAL = "127.0.0.1"
VARNISH_LOG = '{"time":"%{VSL:Timestamp:Resp[1]}x","id":"%{X-Request-Id}i","method":"%m","host":"%{Host}i","path":"%U","status":"%s","end":"%{Varnish:handling}x","seconds":"%D","bytes":"%O"}'
"""https://varnish-cache.org/docs/7.1/reference/varnishncsa.html#format."""
CHAIN_GOAL = 0.97
CACHE_GOAL = 0.95

ESTATE = """\
estate: {name}
domain: {name}.example
services:
  fast:
    run: {{command: "sh serve.sh {{address}} {{port}}", port: 8300, keep_alive: 75s, stop: {{timeout: 5s}}}}
    health: {{http: /healthz, interval: 2s}}
    routes: [{{host: fast}}]
    cache: {{ttl: 1h}}
    rollout: {{min_healthy_time: 0.5s, settle: 200ms, drain_timeout: 2s}}
environments:
  prod: {{hosts: {{edge: 1, web: 1}}}}
{traffic}
"""
TIERS = {"Traefik, Varnish, HAProxy, nginx": "", "HAProxy, nginx": "traffic: {chain: [{balancer: haproxy}, {web: nginx}]}"}


@dataclass(frozen=True)
class Url:
    """What `wrk` asks."""

    url: str
    headers: tuple[str, ...] = ()

    def is_served(self) -> bool:
        """Tell whether it is answered as it will be."""
        words = ["curl", "-sk", "--max-time", "5", "-o", "/dev/null", "-w", "%{http_code}", *(word for header in self.headers for word in ("-H", header)), self.url]
        return subprocess.run(words, capture_output=True, text=True, timeout=20, check=False).stdout == "200"

    def rate(self) -> float:
        """Return requests a second."""
        return wrk(self.url, seconds=SECONDS, connections=CONNECTIONS, headers=self.headers)


@dataclass
class Peer:
    """Tiers configured by hand, with addresses of their own."""

    stage: Stage
    folder: Path
    tls: Path
    host: str

    def __post_init__(self) -> None:
        """Take ports."""
        self.folder.mkdir()
        self.ports = {name: free_port() for name in ("TRAEFIK", "VARNISH", "HAPROXY", "NGINX", "PROGRAM")}

    def start(self, name: str, argv: Callable[[Path], list[str]], *files: str, source: str = "chain") -> None:
        """Fill in a tier's files, start it, and wait until it listens."""
        values = {key: f"{LOCAL}:{port}" for key, port in self.ports.items()} | {f"{key}_PORT": str(port) for key, port in self.ports.items()}
        values |= {f"{key}_HOST": LOCAL for key in self.ports} | {"FOLDER": str(self.folder), "TLS": str(self.tls), "HOST": self.host}
        for file in files:
            fill(PEERS / source / file, self.folder / file, values)
        self.stage.program(argv(self.folder), f"{self.folder.name}-{name.lower()}", cwd=self.folder)
        wait_for(lambda: listens(LOCAL, self.ports[name]), 20, f"{name} of the peer")

    def program(self) -> None:
        """Start the program behind it."""
        self.start("PROGRAM", lambda folder: ["sh", str(FAST / "serve.sh"), LOCAL, str(self.ports["PROGRAM"])])

    def nginx(self) -> None:
        """Start the web tier."""
        self.start("NGINX", lambda folder: [tool("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")], "nginx.conf")

    def haproxy(self, file: str) -> None:
        """Start the balancer."""
        self.start("HAPROXY", lambda folder: [tool("haproxy"), "-W", "-f", str(folder / file)], file)

    def varnish(self, file: str, source: str, *, logs: bool) -> None:
        """Start the cache, and the program that writes its log."""
        name = str(self.folder / "v")
        options = ["-F", "-j", "none", "-n", name, "-a", f"{LOCAL}:{self.ports['VARNISH']},HTTP", "-s", "default=malloc,256m"]
        self.start("VARNISH", lambda folder: [tool("varnishd"), *options, "-f", str(folder / file)], file, source=source)
        if logs:
            log = [tool("varnishncsa"), "-n", name, "-j", "-a", "-w", str(self.folder / "varnish-access.json"), "-F", VARNISH_LOG]
            self.stage.program(log, f"{self.folder.name}-varnishncsa", cwd=self.folder)

    def traefik(self) -> None:
        """Start the router."""
        self.start("TRAEFIK", lambda folder: [tool("traefik"), f"--configFile={folder / 'traefik.yml'}"], "traefik.yml", "dynamic.yml")


def measure(stage: Stage) -> list[Result]:
    """Measure chain by chain; the cache in the chain that has one."""
    found: list[Result] = []
    for number, (tiers, traffic) in enumerate(TIERS.items()):
        estate = bring_up(stage, f"chain-{number}", traffic)
        found.append(chain(stage, estate, tiers))
        if not traffic:
            found += cache(stage, estate)
        stage.clear()
    return found


def bring_up(stage: Stage, name: str, traffic: str) -> LiveEstate:
    """Bring an estate up with the fast program as its service."""
    estate = stage.estate(name, ESTATE.format(name=name, traffic=traffic))
    estate.up()
    estate.run("ship", "fast", "--artifact", str(FAST), "--commit", "c1")
    return estate


def chain(stage: Stage, estate: LiveEstate, tiers: str) -> Result:
    """Compare a rendered chain with one by hand, over TLS and past the cache."""
    host, port = estate.front("prod", "fast")
    peer = Peer(stage, stage.folder / f"peer-{estate.folder.name}", estate.host_folder("prod", "edge-1") / "tls", host)
    peer.program()
    peer.nginx()
    if "Varnish" in tiers:
        peer.haproxy("haproxy.cfg")
        peer.varnish("default.vcl", "chain", logs=True)
        peer.traefik()
    else:
        peer.haproxy("haproxy-first.cfg")
    first = peer.ports["TRAEFIK" if "Varnish" in tiers else "HAPROXY"]
    header = (f"Host: {host}",)
    ours, theirs = in_turns(stage, tiers, Url(f"https://{LOCAL}:{port}/page", header), Url(f"https://{LOCAL}:{first}/page", header))
    return compared(f"throughput of the rendered chain {tiers}", "the same tiers by hand, same logs and TLS", ours, theirs, CHAIN_GOAL, "TLS, HTTP/1.1, answers of 1,000 bytes that say `no-store`.")


def cache(stage: Stage, estate: LiveEstate) -> list[Result]:
    """Compare hits at the listener of the rendered Varnish with a minimal VCL's, with and without a log."""
    host, _ = estate.front("prod", "fast")
    ours = Url(f"http://{varnish_listener(estate)}/cached", (f"Host: {host}", "X-Manor-Service: fast", "X-Forwarded-Proto: https"))
    found = []
    for logs in (True, False):
        peer = Peer(stage, stage.folder / f"peer-cache-{int(logs)}", estate.host_folder("prod", "edge-1") / "tls", host)
        peer.program()
        peer.varnish("minimal.vcl", "cache", logs=logs)
        what = "a minimal VCL, the same log" if logs else "a minimal VCL without any log"
        a, b = in_turns(stage, what, ours, Url(f"http://{LOCAL}:{peer.ports['VARNISH']}/cached", (f"Host: {host}",)))
        one = compared("cache hits at Varnish's listener", what, a, b, CACHE_GOAL if logs else None, "HTTP/1.1 without TLS, answers of 1,000 bytes, 256 MiB of memory both.")
        found.append(one)
    return found


def varnish_listener(estate: LiveEstate) -> str:
    """Return address and port of the rendered Varnish."""
    text = (estate.host_folder("prod", "edge-1") / "etc" / "supervisor" / "supervisord.conf").read_text()
    return re.findall(r" -a ([0-9.]+:[0-9]+),HTTP", text)[0]


def in_turns(stage: Stage, what: str, ours: Url, theirs: Url) -> tuple[list[float], list[float]]:
    """Measure one after the other, the first in a pair changing; both once before, uncounted."""
    for side in (ours, theirs):
        wait_for(side.is_served, 20, side.url)
    sides: Mapping[str, tuple[Url, list[float]]] = {"ours": (ours, []), "theirs": (theirs, [])}
    for number in range(stage.choose(6, 2)):
        for name in ("ours", "theirs") if number % 2 else ("theirs", "ours"):
            url, rates = sides[name]
            rates.append(url.rate())
    stage.say(f"{what}: ours {[round(rate) for rate in sides['ours'][1]]}, by hand {[round(rate) for rate in sides['theirs'][1]]}")
    return sides["ours"][1][1:], sides["theirs"][1][1:]


def compared(name: str, peer: str, ours: list[float], theirs: list[float], goal: float | None, how: str) -> Result:
    """Return medians and the median ratio."""
    ratio = median_ratio(ours, theirs)
    return Result(
        benchmark="throughput",
        name=name,
        value=round(statistics.median(ours)),
        unit="requests/s",
        peer=peer,
        peer_value=round(statistics.median(theirs)),
        ratio=round(ratio, 3),
        goal="" if goal is None else f"≥ {goal:.0%} of the peer",
        met=None if goal is None else ratio >= goal,
        note=f"{how} `wrk`, {CONNECTIONS} connections, {len(ours)} pairs of {SECONDS} s in turns; the cores are shared with `wrk`. Ratios {', '.join(f'{a / b:.2f}' for a, b in zip(ours, theirs, strict=True))}.",
    )
