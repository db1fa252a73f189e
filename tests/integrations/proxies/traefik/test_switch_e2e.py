"""Traefik as the switching tier under load: ten flips lose nothing; health, pages and restarts are what the files say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from manor.estate.model import Health
from manor.estate.topology import Role, ServiceView, TrafficState
from manor.execution.values import HostPath
from manor.integrations.proxies.base import ServerView
from manor.integrations.proxies.traefik import product
from tests.integrations.proxies import kept, live, nodes
from tests.integrations.proxies.origin import Origin
from tests.integrations.proxies.origin import running as origin_running

pytestmark = pytest.mark.e2e
METHODS = {"POST": ("-d", "x"), "PUT": ("-d", "x"), "DELETE": (), "PATCH": ("-d", "x"), "GET": ()}
MAINT, DRAIN, READY = TrafficState.MAINT, TrafficState.DRAIN, TrafficState.READY


class Bench:
    """A switching Traefik before two slots on one host."""

    def __init__(self, root: Path) -> None:
        self.address = live.fresh_address()
        health = Health(http="/healthz", interval="300ms", timeout="300ms")
        self.service: ServiceView = nodes.service("shop", hosts=[("web-1", self.address)], health=health)
        self.node = nodes.node("traefik", Role.ROUTER, 2, services=[self.service], is_switching=True, address=self.address, root=HostPath(root))
        self.port = self.node.listeners[0].port
        self.slots = {"a": Origin("a"), "b": Origin("b")}
        self.tier: live.Tier | None = None

    def slot(self, name: str, keep_alive: int = 30) -> object:
        """Run a slot's program, where web's listener would be."""
        server = next(one for one in self.service.servers if one.slot == name)
        return origin_running(self.slots[name], self.address, server.port, keep_alive)

    async def put(self, a: TrafficState, b: TrafficState) -> None:
        """Bring the slots to a traffic and wait until the process shows it."""
        assert self.tier is not None
        wanted = {"web-1-a": a, "web-1-b": b}
        for act in (*product.switch_files(self.node, self.service, wanted), *product.switch(self.node, self.service, wanted)):
            await self.tier.runner.carry_out(act)
        await self.until(lambda views: {view.name: view.traffic for view in views} == wanted)

    async def views(self) -> tuple[ServerView, ...]:
        """Return what the process says."""
        assert self.tier is not None
        return product.parse_switch(self.node, self.service, await self.tier.runner.carry_out(product.observe_switch(self.node, self.service)))

    async def shows_page(self) -> bool:
        """Tell whether the process says that it shows the maintenance page."""
        assert self.tier is not None
        completed = await self.tier.runner.carry_out(product.observe_maintenance(self.node, self.service))
        return product.parse_maintenance(self.node, self.service, completed)

    async def until(self, holds: object, seconds: float = 5.0) -> None:
        """Wait for the process's own view."""
        end = asyncio.get_running_loop().time() + seconds
        while not holds(views := await self.views()):  # type: ignore[operator]
            assert asyncio.get_running_loop().time() < end, views
            await asyncio.sleep(0.02)

    def get(self, *more: str) -> str:
        """Return status, Retry-After and body of a stamped request."""
        return live.curl("-H", "X-Manor-Service: shop", "-w", " %{http_code} %header{retry-after}", *more, f"http://{self.address}:{self.port}/x").stdout


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    with live.running(bench.node, product) as bench.tier:
        await live.until_ready(bench.tier)
        yield bench


@pytest.fixture
def both(bench: Bench) -> Iterator[None]:
    with ExitStack() as stack:
        for name in bench.slots:
            stack.enter_context(bench.slot(name))  # type: ignore[arg-type]
        yield


async def test_ten_flips_under_load_lose_nothing(bench: Bench, both: None) -> None:
    await bench.put(READY, MAINT)
    async with kept.running(bench.address, bench.port, {"Host": "shop.acme.example", "X-Manor-Service": "shop"}) as tally:
        for number in range(10):
            new_is_b = number % 2 == 0
            await bench.put(*((READY, DRAIN) if new_is_b else (DRAIN, READY)))
            await asyncio.sleep(0.1)
            await bench.put(READY, READY)
            await bench.put(*((DRAIN, READY) if new_is_b else (READY, DRAIN)))
            await asyncio.sleep(0.2)
            await bench.put(*((MAINT, READY) if new_is_b else (READY, MAINT)))
    assert tally.lost == []
    assert tally.total > 500
    assert all(count > 100 for count in tally.answers.values()), tally.answers
    assert set(tally.answers) == {"GET a", "GET b", "POST a", "POST b"}


async def test_a_drained_slot_gets_nothing_new_and_its_health_is_read(bench: Bench) -> None:
    with bench.slot("a"):  # type: ignore[attr-defined]
        await bench.put(READY, DRAIN)
        await bench.until(lambda views: [view.is_healthy for view in views] == [True, False])
        with bench.slot("b"):  # type: ignore[attr-defined]
            await bench.until(lambda views: [view.is_healthy for view in views] == [True, True])
            for _ in range(20):
                bench.get()
    assert {request["path"] for request in bench.slots["b"].requests} == {"/healthz"}


async def test_pages_of_ours(bench: Bench) -> None:
    assert "our 503" in bench.get()
    assert bench.get("-I").count("503") >= 1
    # The API must not answer what fell back to the page.
    assert "our 503" in live.curl("-H", "X-Manor-Service: shop", f"http://{bench.address}:{bench.port}/api/rawdata").stdout
    assert "our 404" in live.curl("-H", "X-Manor-Service: other", f"http://{bench.address}:{bench.port}/").stdout
    with bench.slot("a"):  # type: ignore[attr-defined]
        await bench.put(READY, MAINT)
        assert " 200" in bench.get()
        assert bench.tier is not None
        for act in product.maintenance(bench.node, bench.service, True):
            await bench.tier.runner.carry_out(act)
        live.wait_for(lambda: "our maintenance" in bench.get(), "no maintenance page")
        assert await bench.shows_page()
        assert bench.get().endswith(" 503 30")
        for act in product.maintenance(bench.node, bench.service, False):
            await bench.tier.runner.carry_out(act)
        live.wait_for(lambda: " 200" in bench.get(), "the maintenance page stays")
        assert not await bench.shows_page()
    await bench.until(lambda views: views[0].is_healthy is False)
    assert "our 503" in bench.get()


async def test_a_restart_comes_back_with_the_same_traffic(bench: Bench, both: None) -> None:
    await bench.put(MAINT, READY)
    assert bench.tier is not None
    live.stop(bench.tier)
    bench.tier.processes.extend(live.start(bench.node, product).processes)
    await live.until_ready(bench.tier)
    assert [view.traffic for view in await bench.views()] == [MAINT, READY]
    assert '"slot": "b"' in bench.get()


async def test_only_get_is_repeated_when_the_connection_fails_before_an_answer(bench: Bench) -> None:
    closed: list[str] = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"GET /healthz"):
            closed.append(head.split()[0].decode())
        writer.close()

    server_b = next(one for one in bench.service.servers if one.slot == "b")
    with bench.slot("a"):  # type: ignore[attr-defined]
        await bench.put(READY, READY)
        async with await asyncio.start_server(hang_up, bench.address, server_b.port):
            answers = {method: [await asyncio.to_thread(bench.get, "-X", method, *body) for _ in range(4)] for method, body in METHODS.items()}
    refused = {method: sum(" 502" in answer for answer in got) for method, got in answers.items()}
    assert refused == {"GET": 0, **{method: closed.count(method) for method in METHODS if method != "GET"}}, (refused, closed)
    assert sum(refused.values()) > 0
