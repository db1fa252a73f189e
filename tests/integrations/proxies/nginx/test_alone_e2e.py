"""nginx as the whole chain: flips by flag files under traffic, routes, pages, and all kinds of requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import websockets

from manor.estate.model import Health, Redirect, Static
from manor.estate.topology import Role, ServiceView, TrafficState
from manor.execution.values import HostPath
from tests.integrations.proxies import nodes
from tests.integrations.proxies.load import Load, ask, request
from tests.integrations.proxies.tiers import Echo, Tier, curl

pytestmark = pytest.mark.e2e
HOST = "shop.acme.example"
READY, DRAIN, MAINT = TrafficState.READY, TrafficState.DRAIN, TrafficState.MAINT


@dataclass
class Alone:
    """A running nginx, with both slots of a service, and a static one."""

    shop: ServiceView
    docs: ServiceView
    web: Tier
    front: tuple[str, int]


def shop(address: str) -> ServiceView:
    """Return the service with a program."""
    routes = [nodes.route(HOST), nodes.route(HOST, path="/small", body_bytes=1000), nodes.route(HOST, path="/events", class_="stream")]
    routes += [nodes.route(HOST, path="/ws", class_="websocket")]
    redirects = [
        Redirect(**{"from": "old.acme.example/shop", "to": "https://shop.acme.example/$new", "status": 301}),
        Redirect(**{"from": f"{HOST}/basket", "to": "/cart"}),
    ]
    return nodes.service(routes=routes, hosts=[("web-1", address)], health=Health(http="/healthz"), redirects=redirects, response_seconds=3600.0)


@contextlib.asynccontextmanager
async def alone(root: HostPath, sockets: HostPath, address: str) -> AsyncIterator[Alone]:
    """Start everything, with slot a ready; end it all."""
    docs = nodes.service("docs", port=8300, hosts=[("web-1", address)], has_program=False, static=[Static(path="/", dir="site")])
    services = [shop(address), docs]
    places = {"address": address, "root": root, "sockets": sockets, "runs_as_root": True}
    web = Tier(nodes.node("nginx", Role.WEB, 0, services=services, is_first=True, is_switching=True, is_web=True, **places))  # type: ignore[arg-type]
    echoes = [Echo("a", address, 8100), Echo("b", address, 8101)]
    try:
        await web.start()
        for one in echoes:
            await one.up()
        await web.switch(services[0], {"web-1-a": READY, "web-1-b": MAINT})
        yield Alone(services[0], docs, web, (address, 8080))
    finally:
        web.stop()
        for echo in echoes:
            echo.stop()


async def test_thirty_flips_lose_nothing_and_a_cold_restart_comes_back_flipped(root: HostPath, sockets: HostPath, address: str) -> None:
    async with alone(root, sockets, address) as running:
        async with Load(running.front, HOST, clients=8, pause_seconds=0.015) as load:
            for turn in range(31):
                new, old = ("b", "a") if turn % 2 == 0 else ("a", "b")
                await running.web.switch(running.shop, {f"web-1-{new}": READY, f"web-1-{old}": DRAIN})
                await asyncio.sleep(0.1)
        assert load.tally.lost == []
        assert load.tally.sent > 500
        assert min(load.tally.slots["a"], load.tally.slots["b"]) > 100
        running.web.stop()
        await running.web.start()
        views = await running.web.servers(running.shop)
        assert {name: view.traffic for name, view in views.items()} == {"web-1-a": DRAIN, "web-1-b": READY}
        status, _, body = await ask(running.front, "GET", HOST)
        assert (status, json.loads(body)["slot"]) == (200, "b")


async def test_pages_where_nothing_is_ready_or_under_maintenance(root: HostPath, sockets: HostPath, address: str) -> None:
    async with alone(root, sockets, address) as running:
        await running.web.page(running.shop, on=True)
        status, headers, body = await ask(running.front, "POST", HOST, body=b"x")
        assert (status, headers["retry-after"], body) == (503, "30", b"<h1>our page maintenance</h1>\n")
        await running.web.page(running.shop, on=False)
        assert (await ask(running.front, "GET", HOST))[0] == 200
        await running.web.switch(running.shop, {"web-1-a": MAINT, "web-1-b": MAINT})
        status, _, body = await ask(running.front, "POST", HOST, body=b"x")
        assert (status, body) == (503, b"<h1>our page 503</h1>\n")
        status, _, body = await ask(running.front, "POST", "unknown.example", body=b"x")
        assert (status, body) == (404, b"<h1>our page 404</h1>\n")
        assert (await ask(running.front, "GET", HOST, "/.manor-pages/503.html"))[0] == 404


async def test_every_kind_of_request(root: HostPath, sockets: HostPath, address: str) -> None:
    async with alone(root, sockets, address) as running:
        await asyncio.gather(forged_headers(running), bodies(running), events(running), web_socket(running), http2(running), redirects(running))
        await static_service(running)
        logged(running)


async def forged_headers(running: Alone) -> None:
    forged = ["X-Manor-Service: evil", "X_Manor_Service: evil", "X-Manor_Slot: evil", "X-Manor-Slot: evil", "X_REQUEST_ID: evil", "X-Request-Id: evil"]
    forged += ["Forwarded: for=evil", "X_Forwarded_For: evil", "X-Forwarded-For: evil", "X-Forwarded-Prefix: evil", "X-Real-IP: evil", "X_Real_IP: evil"]
    _, answer, body = await ask(running.front, "GET", HOST, "/x?q=evil-not-logged", headers=forged)
    seen = json.loads(body)["headers"]
    assert "evil" not in json.dumps(seen)
    assert seen["x-manor-service"] == "shop"
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-forwarded-port"] == "8080"
    assert len(seen["x-request-id"]) == 32
    assert [name for name in answer if name.startswith("x-manor")] == []


async def bodies(running: Alone) -> None:
    status, _, body = await ask(running.front, "POST", HOST, body=b"x" * 10_000_000)
    assert (status, json.loads(body)["bytes"]) == (200, 10_000_000)
    assert (await ask(running.front, "POST", HOST, "/small/x", body=b"x" * 1001))[0] == 413
    assert (await ask(running.front, "POST", HOST, "/smallest", body=b"x" * 1001))[0] == 200


async def events(running: Alone) -> None:
    reader, writer = await asyncio.open_connection(*running.front)
    writer.write(request("GET", HOST, "/events", headers=["X-Events: 10"]))
    loop = asyncio.get_running_loop()
    times: list[float] = []
    async with asyncio.timeout(20):
        while len(times) < 10:
            line = await reader.readline()
            assert line, "cut off"
            if line.startswith(b"data:"):
                times.append(loop.time())
    writer.close()
    assert times[-1] - times[0] > 2.5, "events come when they are sent, not at the end"


async def web_socket(running: Alone) -> None:
    async with websockets.connect(f"ws://{HOST}:8080/ws", host=running.front[0], port=8080, proxy=None) as socket:
        await socket.send("hello")
        assert await socket.recv() == "a:hello"


async def http2(running: Alone) -> None:
    told = await curl(
        "--http2", "-k", "--connect-to", f"::{running.front[0]}:8443", "-w", "%{http_version} %{http_code}", "-o", "/dev/null", f"https://{HOST}/"
    )
    assert told == "2 200"


async def redirects(running: Alone) -> None:
    status, headers, _ = await ask(running.front, "GET", "old.acme.example", "/shop/x")
    assert (status, headers["location"]) == (301, "https://shop.acme.example/$new")
    status, headers, _ = await ask(running.front, "GET", HOST, "/basket")
    assert status == 308
    assert headers["location"].endswith("/cart")


async def static_service(running: Alone) -> None:
    site = Path(running.web.node.folders.slots) / "docs" / "a" / "site"
    (site / "guide").mkdir(parents=True)
    (site / "index.html").write_text("home")
    (site / "guide" / "index.html").write_text("guide")
    await running.web.switch(running.docs, {"web-1-a": READY, "web-1-b": MAINT})
    for path, wanted in (("/", b"home"), ("/index.html", b"home"), ("/guide/", b"guide")):
        status, headers, body = await ask(running.front, "GET", "docs.acme.example", path)
        assert (status, body, headers["content-type"]) == (200, wanted, "text/html")
    assert (await ask(running.front, "GET", "docs.acme.example", "/none"))[0] == 404


def logged(running: Alone) -> None:
    records = [record for record in map(running.web.proxy.parse_access, running.web.lines()) if record]
    seen = [record for record in records if record.path == "/x"]
    assert len(seen) == 1, "a request is logged once, by the front"
    assert (seen[0].service, seen[0].status, seen[0].upstream_status, seen[0].ended_by, seen[0].slot) == ("shop", 200, 200, "done", "a")
    assert not any("not-logged" in line for line in running.web.lines())
