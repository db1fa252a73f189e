"""The real fleet keeps the contract that the model keeps, on HAProxy, nginx and Supervisor (tests/rollout/fleet_contract.py)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from manor.estate.topology import TrafficState
from manor.operations.leasing import hold
from manor.operations.step import Here
from manor.rollout.live import LiveFleet
from manor.rollout.release import Release
from manor.state import operations, releases
from manor.state.leases import Lease
from manor.state.operations import NewOperation
from manor.state.words import OperationState
from manor.workflows.artifacts import Origin, keep_file
from manor.workflows.context import Context, open_context
from manor.workflows.rolling import prepare_rollout
from tests.e2e.estates import LiveEstate, wait_until
from tests.e2e.orphans import supervisor_of
from tests.e2e.test_kills import door_of
from tests.rollout.fleet_contract import FleetContract, Stage

GUARD_SECONDS = 3.0
ESTATE = """\
estate: contract
domain: contract.example
services:
  echo:
    run: {command: "python3 echo.py {address} {port}", port: 8300}
    health: {http: /healthz, interval: 300ms, passes: 2}
    routes: [{host: echo}]
    rollout: {min_healthy_time: 100ms, settle: 100ms, drain_timeout: 2s, instance_deadline: 30s}
traffic: {chain: [{balancer: haproxy}, {web: nginx}]}
environments:
  prod: {hosts: {edge: 1, web: 2}}
"""
PROGRAM = """
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(3 if self.path == "/slow" else 0)
        self.send_response(HEALTH if self.path == "/healthz" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()


ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Answers).serve_forever()
"""
PROGRAMS = {
    "good": PROGRAM.replace("HEALTH", "200"),
    "newer": PROGRAM.replace("HEALTH", "200") + "# newer\n",
    "sick": PROGRAM.replace("HEALTH", "500"),
    "dying": "raise SystemExit(3)\n",
}


@dataclass(frozen=True)
class Site:
    """An estate that is up, and its artifacts by name."""

    estate: LiveEstate
    door: tuple[str, int]
    folders: dict[str, Path]


@pytest.fixture(scope="module")
def site(make_estate: Callable[[str], LiveEstate], tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The one estate of all tests here."""
    estate = make_estate(ESTATE)
    door = door_of(estate.results("up")[-1]["urls"]["echo"])
    folders = {name: tmp_path_factory.mktemp("artifact") / name for name in PROGRAMS}
    for name, folder in folders.items():
        folder.mkdir()
        (folder / "echo.py").write_text(PROGRAMS[name])
    return Site(estate, door, folders)


class LiveStage(Stage):
    """The real fleet under a lease of its own."""

    expiry_seconds = GUARD_SECONDS

    def __init__(self, context: Context, fleet: LiveFleet, names: dict[str, str], lease: Lease, door: tuple[str, int]) -> None:
        self.context, self.fleet, self.lease, self.door = context, replace(fleet, guard_seconds=GUARD_SECONDS), lease, door
        self.live = self.fleet
        self.good, self.newer, self.sick, self.dying = (names[name] for name in PROGRAMS)
        self.begun: list[str] = []

    async def begin_another(self) -> Here:
        store = self.context.store
        operation = await store.write(operations.create, NewOperation("ship", "prod", "echo"), at=store.clock.now())
        self.begun.append(operation.id)
        await store.write(operations.begin, operation.id, self.lease.token, at=store.clock.now())
        return Here(operation.id, 1, f"{operation.id}/1", self.lease.token, 1, store.clock.now() + 3600.0, lambda text: None)

    async def end(self) -> None:
        """Leave no operation unfinished."""
        for identifier in self.begun:
            await self.context.store.write(operations.end, identifier, self.lease.token, OperationState.DONE, "", at=self.context.store.clock.now())

    async def set_by_hand(self, server: str, state: TrafficState) -> None:
        (tier,) = self.live.site.hosts["edge-1"].tiers
        alone = replace(self.live.view, servers=tuple(one for one in self.live.view.servers if one.name == server))
        for act in tier.proxy.switch(tier.node, alone, {server: state}):
            await self.live.site.runners["edge-1"].carry_out(act)

    async def leave_alone(self, seconds: float) -> None:
        await asyncio.sleep(seconds + 2.0)

    @asynccontextmanager
    async def request(self) -> AsyncIterator[None]:
        host, port = self.door
        words = ("-sS", "-o", "/dev/null", "-m", "15", "--cacert", str(self.context.folder / "ca" / "authority.pem"), "--resolve", f"{host}:{port}:127.0.0.1")
        asking = await asyncio.create_subprocess_exec("curl", *words, f"https://{host}:{port}/slow")
        try:
            await asyncio.sleep(0.5)
            yield
        finally:
            assert await asyncio.wait_for(asking.wait(), 20) == 0, "a request that was in flight was lost"

    async def kill_supervisor(self, host: str) -> None:
        pid = supervisor_of(self.context.folder, host)
        os.kill(pid, signal.SIGKILL)
        command = Path(f"/proc/{pid}/cmdline")
        await asyncio.to_thread(wait_until, lambda: not command.exists() or not command.read_bytes(), 10, "the supervisor is gone")

    async def standing(self, release: str) -> str:
        found = await self.context.store.read(releases.standing_of, "prod", "echo", self.live.catalog[release].id)
        return str(found.standing) if found is not None else ""


async def fleet_of(context: Context, folders: dict[str, Path]) -> tuple[LiveFleet, dict[str, str]]:
    """Return the fleet with every release in its catalog, and their short ids by name."""
    names: dict[str, str] = {}
    catalog: dict[str, Release] = {}
    for name, folder in folders.items():
        kept = await keep_file(context, "echo", folder, Origin(commit=name))
        await context.store.write(kept)
        rollout = await prepare_rollout(context, "prod", "echo", kept.digest, again="once more")
        names[name] = rollout.order.release
        catalog |= rollout.fleet.catalog
    return replace(rollout.fleet, catalog=catalog), names


@pytest.fixture
def context(site: Site) -> Iterator[Context]:
    with open_context(site.estate.folder / "estate.yaml") as opened:
        yield opened


class TestContract(FleetContract):
    @pytest.fixture
    async def stage(self, site: Site, context: Context) -> AsyncIterator[Stage]:
        fleet, names = await fleet_of(context, site.folders)
        async with hold(context.store, "prod/echo") as lease:
            made = LiveStage(context, fleet, names, lease, site.door)
            made.here = await made.begin_another()
            await made.clear()
            try:
                yield made
            finally:
                await made.end()
