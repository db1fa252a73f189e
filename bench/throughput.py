"""Traffic through rendered chains, and cache hits at Varnish's listener, beside the same tiers configured by hand.

Both stand side by side, on the same machine, before the same program, with the same certificate. They are measured in many short turns, so that what else
the machine does falls on both; the median of the ratios counts. The ratio of CPU time a request is told beside: it hardly hangs on what others do.
"""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.load import median_ratio, wrk
from bench.machine import tool
from bench.results import ROOT, Result
from bench.stage import PEERS, Stage, fill, free_port, listens, pids_of, wait_for
from tests.e2e.estates import LiveEstate

FAST = ROOT / "bench" / "fast"
CONNECTIONS = 32
SECONDS = 1
WARM_SECONDS = 3
PAIRS = 16
LOCAL = "127.0.0.1"
VARNISH_LOG = (
    '{"time":"%{VSL:Timestamp:Resp[1]}x","id":"%{X-Request-Id}i","method":"%m","host":"%{Host}i","path":"%U",'
    '"status":"%s","end":"%{Varnish:handling}x","seconds":"%D","bytes":"%O"}'
)
"""https://varnish-cache.org/docs/7.1/reference/varnishncsa.html#format."""
TIER_PROGRAMS = ("traefik", "varnishd", "varnishncsa", "haproxy", "nginx")
TIER_NAMES = {"cache-main": "varnishd"}
"""What Varnish calls its worker process."""
PROGRAM_FOLDERS = ("releases", "slots", "program")
REASONS = {
    "throughput of the rendered chain HAProxy, nginx": (
        "With HAProxy first, its one thread (`nbthread 1`, which the table of idle time-outs needs; docs/traffic.md) is the limit, where the one "
        "by hand ends TLS on every core. It also does more for each request: a copy of it for a repeat on another connection, six headers more, the map "
        "of routes. What each costs stands in HAProxy's README."
    ),
    "throughput of the rendered chain Traefik, Varnish, HAProxy, nginx": (
        "The rendered Traefik does more for each request, as its README says: a trace, whose id is the request id in every tier's log; the stamp, and "
        "what clients forged deleted in both spellings; reads wrapped for a repeat. So each tier after it has more headers to pass on, and stamp, slot and "
        "cache to log."
    ),
    "cache hits at Varnish's listener": (
        "Before a look-up the rendered VCL matches the stamp, joins cookies, cuts the list of addresses, and asks three patterns whether the answer "
        "is a person's own or the path is an odd one; its log has six fields more."
    ),
}
"""Found by leaving out parts of the rendered files one by one, CPU time or instructions a request compared."""
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
class Pass:
    """One run of `wrk`."""

    rate: float
    cpu: Mapping[str, float]
    """CPU time a request, µs, by program."""


@dataclass(frozen=True)
class Url:
    """What `wrk` asks."""

    url: str
    folder: Path
    """Of the estate or the peer: its processes have it in their command line or environment."""
    headers: tuple[str, ...] = ()

    def is_served(self) -> bool:
        """Tell whether it is answered as it will be."""
        words = [
            "curl",
            "-sk",
            "--max-time",
            "5",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            *(word for header in self.headers for word in ("-H", header)),
            self.url,
        ]
        return subprocess.run(words, capture_output=True, text=True, timeout=20, check=False).stdout == "200"

    def measured(self, seconds: float = SECONDS) -> Pass:
        """Return requests a second, and what each tier computed for it."""
        before = cpu_by_tier(self.folder)
        rate = wrk(self.url, seconds=seconds, connections=CONNECTIONS, headers=self.headers)
        after = cpu_by_tier(self.folder)
        return Pass(rate, {tier: (after[tier] - before[tier]) / (rate * seconds) * 1e6 for tier in TIER_PROGRAMS if after[tier] > before[tier]})


@dataclass
class Peer:
    """Tiers configured by hand, with addresses of their own."""

    stage: Stage
    folder: Path
    tls: Path
    host: str

    def __post_init__(self) -> None:
        """Take ports."""
        (self.folder / "program").mkdir(parents=True)
        self.ports = {name: free_port() for name in ("TRAEFIK", "VARNISH", "HAPROXY", "NGINX", "PROGRAM")}

    def start(self, name: str, argv: Callable[[Path], list[str]], *files: str, source: str = "chain") -> None:
        """Fill in a tier's files, start it, and wait until it listens."""
        values = {key: f"{LOCAL}:{port}" for key, port in self.ports.items()} | {f"{key}_PORT": str(port) for key, port in self.ports.items()}
        values |= {f"{key}_HOST": LOCAL for key in self.ports} | {"FOLDER": str(self.folder), "TLS": str(self.tls), "HOST": self.host}
        for file in files:
            fill(PEERS / source / file, self.folder / file, values)
        self.stage.program(argv(self.folder), f"{self.folder.name}-{name.lower()}", cwd=self.folder / "program" if name == "PROGRAM" else self.folder)
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

    def varnish(self, file: str, source: str) -> None:
        """Start the cache, and the program that writes its log."""
        name = str(self.folder / "v")
        options = ["-F", "-j", "none", "-n", name, "-a", f"{LOCAL}:{self.ports['VARNISH']},HTTP", "-s", "default=malloc,256m"]
        self.start("VARNISH", lambda folder: [tool("varnishd"), *options, "-f", str(folder / file)], file, source=source)
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
            found.append(cache(stage, estate))
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
        peer.varnish("default.vcl", "chain")
        peer.traefik()
    else:
        peer.haproxy("haproxy-first.cfg")
    first = peer.ports["TRAEFIK" if "Varnish" in tiers else "HAPROXY"]
    header = (f"Host: {host}",)
    ours, theirs = in_turns(stage, tiers, Url(f"https://{LOCAL}:{port}/page", estate.folder, header), Url(f"https://{LOCAL}:{first}/page", peer.folder, header))
    return compared(
        f"throughput of the rendered chain {tiers}",
        "the same tiers by hand, same logs and TLS",
        ours,
        theirs,
        CHAIN_GOAL,
        "TLS, HTTP/1.1, answers of 1,000 bytes that say `no-store`.",
    )


def cache(stage: Stage, estate: LiveEstate) -> Result:
    """Compare hits at the listener of the rendered Varnish with a minimal VCL's."""
    host, _ = estate.front("prod", "fast")
    ours = Url(f"http://{varnish_listener(estate)}/cached", estate.folder, (f"Host: {host}", "X-Manor-Service: fast", "X-Forwarded-Proto: https"))
    peer = Peer(stage, stage.folder / "peer-cache", estate.host_folder("prod", "edge-1") / "tls", host)
    peer.program()
    peer.varnish("minimal.vcl", "cache")
    what = "a minimal VCL, the same log"
    a, b = in_turns(stage, what, ours, Url(f"http://{LOCAL}:{peer.ports['VARNISH']}/cached", peer.folder, (f"Host: {host}",)))
    how = "HTTP/1.1 without TLS, answers of 1,000 bytes, 256 MiB of memory both."
    return compared("cache hits at Varnish's listener", what, a, b, CACHE_GOAL, how)


def varnish_listener(estate: LiveEstate) -> str:
    """Return address and port of the rendered Varnish."""
    text = (estate.host_folder("prod", "edge-1") / "etc" / "supervisor" / "supervisord.conf").read_text()
    return str(re.findall(r" -a ([0-9.]+:[0-9]+),HTTP", text)[0])


def in_turns(stage: Stage, what: str, ours: Url, theirs: Url) -> tuple[list[Pass], list[Pass]]:
    """Measure one after the other, the first in a pair changing; both longer before, uncounted."""
    for side in (ours, theirs):
        wait_for(side.is_served, 20, side.url)
        side.measured(WARM_SECONDS)
    sides: Mapping[str, tuple[Url, list[Pass]]] = {"ours": (ours, []), "theirs": (theirs, [])}
    for number in range(stage.choose(PAIRS, 2)):
        for name in ("ours", "theirs") if number % 2 else ("theirs", "ours"):
            url, passes = sides[name]
            passes.append(url.measured())
    stage.say(f"{what}: ours {[round(one.rate) for one in sides['ours'][1]]}, by hand {[round(one.rate) for one in sides['theirs'][1]]}")
    return sides["ours"][1], sides["theirs"][1]


def compared(name: str, peer: str, ours: list[Pass], theirs: list[Pass], goal: float, how: str) -> Result:
    """Return medians and the median ratio."""
    rates, others = [one.rate for one in ours], [one.rate for one in theirs]
    ratio = median_ratio(rates, others)
    return Result(
        benchmark="throughput",
        name=name,
        value=round(statistics.median(rates)),
        unit="requests/s",
        peer=peer,
        peer_value=round(statistics.median(others)),
        ratio=round(ratio, 3),
        goal=f"≥ {goal:.0%} of the peer",
        met=ratio >= goal,
        note=(
            f"{how} `wrk`, {CONNECTIONS} connections, {len(ours)} pairs of {SECONDS} s in turns, {spread(rates, others)}; the cores are shared with `wrk`. "
            f"CPU time a request: {told(ours)}; by hand {told(theirs)}; by it alone the ratio were {total(theirs) / total(ours):.2f}."
        ),
        reason=REASONS.get(name, "") if ratio < goal else "",
    )


def spread(ours: list[float], theirs: list[float]) -> str:
    """Return how far the ratios of the pairs lie from each other."""
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    low, _, high = statistics.quantiles(ratios, n=4)
    return f"ratios {ratios[0]:.2f} to {ratios[-1]:.2f}, the middle half {low:.2f} to {high:.2f}"


def medians(passes: list[Pass]) -> Mapping[str, float]:
    """Return what a request costs in each tier, µs; what costs less than one is left out."""
    costs = {tier: statistics.median(one.cpu.get(tier, 0.0) for one in passes) for tier in TIER_PROGRAMS}
    return {tier: cost for tier, cost in costs.items() if cost >= 1}


def total(passes: list[Pass]) -> float:
    """Return what a request costs in all tiers, µs."""
    return sum(medians(passes).values())


def told(passes: list[Pass]) -> str:
    """Return what a request costs in each tier, and in all."""
    return f"{', '.join(f'{tier} {cost:.0f} µs' for tier, cost in medians(passes).items())}, {total(passes):.0f} µs in all"


def cpu_by_tier(folder: Path) -> Mapping[str, float]:
    """Return CPU seconds so far by program, of all processes of an estate or a peer: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html."""
    found: defaultdict[str, float] = defaultdict(float)
    for pid in pids_of(folder):
        with contextlib.suppress(OSError):
            name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(") ")
            found["program" if is_program(pid) else TIER_NAMES.get(name, name)] += sum(int(word) for word in rest.split()[11:13]) / os.sysconf("SC_CLK_TCK")
    return found


def is_program(pid: int) -> bool:
    """Tell whether a process is the program behind the tiers, by the folder it runs in. Raises OSError if it is gone."""
    return any(part in PROGRAM_FOLDERS for part in Path(f"/proc/{pid}/cwd").readlink().parts)
