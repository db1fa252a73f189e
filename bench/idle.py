"""Requests lost without any rollout, by bursts at every idle limit ± 15 ms, beside the vendors' defaults.

One environment a limit, so that nothing else keeps its connections warm; all at the same time, as they hardly cost anything.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from bench.bursts import Door, Tally, burst
from bench.machine import tool
from bench.results import Result
from bench.stage import PEERS, Stage, fill, free_port, listens, wait_for
from tests.e2e.estates import LiveEstate

SERVICE_SECONDS = 5
"""The service's own idle limit, uvicorn's default."""
LIMITS = {"web-sends": 1, "service": SERVICE_SECONDS, "tier-sends": 20, "tier-accepts": 30}
"""Environment → the limit at which it is asked: docs/traffic.md, idle time-outs."""
CLIENTS = 32
LONG_CLIENTS = 60
"""At limits that allow few bursts."""
SECONDS = 95

ESTATE = f"""\
estate: idle
domain: idle.example
services:
  echo:
    run:
      command: "python3 -m echo --bind {{address}}:{{port}} --keep-alive {SERVICE_SECONDS}"
      port: 8300
      keep_alive: {SERVICE_SECONDS}s
      stop: {{timeout: 5s}}
    health: {{http: /healthz, interval: 1s}}
    routes: [{{host: echo}}]
    rollout: {{min_healthy_time: 0.5s, settle: 200ms, drain_timeout: 2s}}
environments:
  web-sends: {{hosts: {{edge: 1, web: 1}}}}
  service: {{after: web-sends, hosts: {{edge: 1, web: 1}}}}
  tier-sends: {{after: service, hosts: {{edge: 1, web: 1}}}}
  tier-accepts: {{after: tier-sends, hosts: {{edge: 1, web: 1}}}}
"""
PEER_HOST = "127.0.0.1"
PEER_NAMES = ("nginx", "traefik")


def measure(stage: Stage) -> list[Result]:
    """Bring both up, and ask all of them at once."""
    estate = stage.estate("idle", ESTATE)
    estate.up()
    estate.run("ship", "echo", "--artifact", str(stage.artifacts(1)[0]), "--commit", "c1")
    ours = {(name, method): (door(estate, name), float(limit)) for name, limit in LIMITS.items() for method in ("POST",)}
    theirs = {(f"{name}, vendors' defaults", method): (peer(stage, name), float(SERVICE_SECONDS)) for name in PEER_NAMES for method in ("POST",)}
    seconds = stage.choose(SECONDS, 16)
    found = asyncio.run(ask_all({**ours, **theirs}, seconds))
    for (name, method), tally in found.items():
        stage.say(f"{name}, {method}: lost {tally}")
    return [row(found, list(ours), (f"{name}, vendors' defaults", "POST")) for name in PEER_NAMES]


async def ask_all(doors: dict[tuple[str, str], tuple[Door, float]], seconds: int) -> dict[tuple[str, str], Tally]:
    """Ask at every door at once, as often as the time allows."""

    async def one(door: Door, method: str, limit: float) -> Tally:
        bursts = max(1, int(seconds / limit))
        return await burst(door, method, limit_seconds=limit, clients=CLIENTS if limit < 10 else LONG_CLIENTS, bursts=bursts)

    tallies = await asyncio.gather(*(one(door, key[1], limit) for key, (door, limit) in doors.items()))
    return dict(zip(doors, tallies, strict=True))


def door(estate: LiveEstate, environment: str) -> Door:
    """Return an environment's front door."""
    host, port = estate.front(environment)
    return Door("127.0.0.1", port, host, str(estate.authority))


def peer(stage: Stage, name: str) -> Door:
    """Start a proxy as its manual has it before the same service, and return its door."""
    folder = stage.folder / f"peer-{name}"
    folder.mkdir()
    ports = {"LISTEN": free_port(), "PROGRAM": free_port()}
    addresses = {key: f"{PEER_HOST}:{port}" for key, port in ports.items()}
    for file in ("nginx.conf",) if name == "nginx" else ("traefik.yml", "dynamic.yml"):
        fill(PEERS / "idle" / file, folder / file, addresses | {"FOLDER": str(folder)})
    words = ("-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")) if name == "nginx" else (f"--configFile={folder / 'traefik.yml'}",)
    artifact = stage.artifact()
    stage.program(python_with(artifact, addresses["PROGRAM"]), f"program-{name}", cwd=artifact)
    stage.program([tool(name), *words], f"peer-{name}")
    for port in ports.values():
        wait_for(partial(listens, PEER_HOST, port), 20, f"port {port}")
    return Door(PEER_HOST, ports["LISTEN"], "peer.example")


def python_with(artifact: Path, bind: str) -> list[str]:
    """Return the command of the service outside an estate."""
    return ["/usr/bin/env", f"PYTHONPATH={artifact / 'lib'}:{artifact}", "python3", "-m", "echo", "--bind", bind, "--keep-alive", str(SERVICE_SECONDS)]


def row(found: dict[tuple[str, str], Tally], ours: list[tuple[str, str]], peer: tuple[str, str]) -> Result:
    """Return our losses at all limits beside one peer's."""
    lost = sum(found[key].total_lost for key in ours)
    theirs = found[peer]
    limits = "; ".join(f"{LIMITS[name]} s: {found[name, method]}" for name, method in ours)
    return Result(
        benchmark="idle",
        name=f"{peer[1]} requests lost in bursts at every idle limit ± 15 ms, without any rollout",
        value=lost,
        unit="requests",
        peer=f"{peer[0]} before uvicorn's, at its {SERVICE_SECONDS} s",
        peer_value=theirs.total_lost,
        ratio=lost / theirs.total_lost if theirs.total_lost else None,
        goal="0",
        met=lost == 0,
        note=(
            f"The default chain over TLS, before a service whose own limit is {SERVICE_SECONDS} s (`run.keep_alive`, uvicorn's default). "
            f"Every limit between tiers and to the service as rendered, none shortened: "
            f"{limits}. Peer: {theirs}. Not asked: the 75 s that the first tier gives clients; "
            "a client that keeps connections longer than its server loses requests whatever the server is."
        ),
    )
