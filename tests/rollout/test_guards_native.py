"""The guard's program against each product that switches, and a small service: it returns a server when its mark is not renewed, and only then."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from manor.estate.layout import HostLayout
from manor.estate.model import Health
from manor.estate.topology import Role, ServiceView, TierNode, TrafficState
from manor.execution.values import HostPath
from manor.operations.step import Here
from manor.reconcile.returns import Mark, end_guards, program_in
from manor.reconcile.site import Site
from manor.rollout.guarding import Guarding
from tests.integrations.proxies import nodes
from tests.integrations.proxies.conftest import address, root, sockets  # noqa: F401 - fixtures
from tests.integrations.proxies.live import with_path
from tests.integrations.proxies.tiers import Echo, Tier, curl

pytestmark = pytest.mark.native
READY, DRAIN, MAINT = TrafficState.READY, TrafficState.DRAIN, TrafficState.MAINT
EXPIRY = 2.0
HERE = Here("op", 7, "op/7", 9, 1, 2e9, lambda text: None)
OLD, NEW = "web-1-a", "web-1-b"


@dataclass
class Host:
    """As much of a desired host as guards ask for."""

    layout: HostLayout


@dataclass
class SiteHere:
    """As much of a site as guards ask for."""

    balancer: Tier
    layout: HostLayout
    hosts: dict[str, Host] = field(init=False)
    runners: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.hosts, self.runners = {"web-1": Host(self.layout)}, {"web-1": self.balancer.runner}

    def tier(self, host: str, key: str) -> Tier:
        return self.balancer


@dataclass
class Bench:
    """A balancer before both slots; the old one serves."""

    view: ServiceView
    balancer: Tier
    old: Echo
    new: Echo
    layout: HostLayout

    @property
    def guarding(self) -> Guarding:
        return Guarding(cast("Site", SiteHere(self.balancer, self.layout)), self.balancer.node, self.view, EXPIRY)

    async def drain(self, new: TrafficState = MAINT) -> None:
        """Take the old slot out as a rollout does: the guard first."""
        mark = Mark(OLD, HERE.operation, time.time(), (NEW,) if new is READY else ())
        assert await self.guarding.put(mark, {OLD: READY, NEW: new}, HERE) == ""
        await self.set({OLD: DRAIN, NEW: new})
        await self.balancer.until_servers(self.view, lambda views: views[OLD].traffic is DRAIN)

    async def set(self, traffic: dict[str, TrafficState]) -> None:
        assert await self.guarding.refresh(traffic, HERE, time.time()) or OLD not in traffic
        await self.balancer.switch(self.view, traffic)

    async def old_is(self, state: TrafficState) -> bool:
        return (await self.balancer.servers(self.view))[OLD].traffic is state

    @property
    def state(self) -> dict[str, str]:
        """What the balancer would start with."""
        folder = Path(self.balancer.node.folders.state)
        return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}

    async def answers(self, slot: str) -> bool:
        """Tell whether a slot is the one that answers, twice."""
        listener = self.balancer.node.listeners[0]
        words = ("-H", f"Host: {self.view.health_host}", "-H", f"X-Manor-Service: {self.view.name}", f"http://{listener.address}:{listener.port}/who")
        told = [await curl(*words) for _ in range(2)]
        return all(text.startswith("{") and json.loads(text)["slot"] == slot for text in told)

    def programs(self) -> list[Path]:
        folder = Path(self.layout.guard(self.view.name)) / "programs"
        return list(folder.iterdir()) if folder.exists() else []


async def until(probe: Callable[[], Any], seconds: float = 8.0) -> bool:
    """Wait until something holds."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        found = probe()
        if await found if asyncio.iscoroutine(found) else found:
            return True
        await asyncio.sleep(0.1)
    return False


def node_of(product: str, view: ServiceView, places: Mapping[str, Any]) -> TierNode:
    """Return the switching tier that a product is: before `web`, or `web` itself, which then is all there is."""
    if product == "nginx":
        own: dict[str, Any] = {"is_first": True, "is_web": True, "runs_as_root": os.getuid() == 0}
        return nodes.node(product, Role.WEB, 0, services=[view], is_switching=True, **own, **places)
    role, place = (Role.BALANCER, 1) if product == "haproxy" else (Role.ROUTER, 2)
    return nodes.node(product, role, place, services=[view], is_switching=True, **places)


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every product be found."""
    monkeypatch.setenv("PATH", with_path())


@pytest.fixture(params=["haproxy", "traefik", "nginx"])
async def bench(request: pytest.FixtureRequest, root: HostPath, sockets: HostPath, address: str) -> AsyncIterator[Bench]:  # noqa: F811
    view = nodes.service(hosts=[("web-1", address)], health=Health(http="/healthz", interval="300ms", timeout="1s", passes=2))
    node = node_of(request.param, view, {"address": address, "root": root, "sockets": sockets})
    ports = {server.slot: server.service_port or 0 if node.is_web else server.port for server in view.servers}
    old, new, balancer = Echo("a", address, ports["a"]), Echo("b", address, ports["b"]), Tier(node)
    made = Bench(view, balancer, old, new, HostLayout(root, sockets))
    try:
        await old.up()
        await new.up()
        await balancer.start()
        await balancer.switch(view, {OLD: READY, NEW: MAINT})
        if balancer.proxy.traits.switch_checks:
            await balancer.until_servers(view, lambda views: views[OLD].is_healthy)
        yield made
    finally:
        await end_guards(cast("Any", Host(made.layout)), balancer.runner)
        balancer.stop()
        old.stop()
        new.stop()


async def test_nobody_goes_on_so_it_serves_again_and_over_a_restart(bench: Bench) -> None:
    before = bench.state
    await bench.drain()
    assert bench.state != before
    assert await until(lambda: bench.old_is(READY))
    assert bench.state == before
    assert await until(lambda: bench.answers("a"))
    assert await until(lambda: bench.guarding.has_returned(OLD, "op"))
    assert await bench.guarding.returned() == {OLD: READY}
    record = json.loads((Path(bench.layout.guard("shop")) / "returned.json").read_text())
    assert abs(next(iter(record.values()))["at"] - time.time()) < 5.0


async def test_renewed_marks_hold_and_a_mark_that_is_gone_ends_the_guard(bench: Bench) -> None:
    await bench.drain()
    for _ in range(7):
        await asyncio.sleep(EXPIRY / 4)
        await bench.guarding.renew("op", time.time())
    assert await bench.old_is(DRAIN)
    await bench.guarding.drop(OLD)
    state = [await bench.balancer.runner.attach(program_in(HostPath(path))) for path in bench.programs()]
    assert len(state) == 1
    folder = bench.programs()[0]
    assert await until(lambda: (folder / "exit").exists())
    assert (folder / "exit").read_text() == "0\n"
    assert await bench.guarding.returned() == {}
    assert await bench.old_is(DRAIN)


async def test_what_serves_in_its_place_keeps_it_out_until_that_ends(bench: Bench) -> None:
    await bench.drain(new=READY)
    await asyncio.sleep(EXPIRY + 1.0)
    assert await bench.old_is(DRAIN)
    assert await bench.answers("b")
    bench.new.stop()
    assert await until(lambda: bench.old_is(READY))
    assert await until(lambda: bench.answers("a"))


async def test_what_does_not_work_is_not_returned_and_down_ends_the_guard(bench: Bench) -> None:
    await bench.drain()
    bench.old.stop()
    await asyncio.sleep(EXPIRY + 1.0)
    assert await bench.old_is(DRAIN)
    await end_guards(cast("Any", Host(bench.layout)), bench.balancer.runner)
    assert [(path / "exit").read_text() for path in bench.programs()] == ["143\n"]
