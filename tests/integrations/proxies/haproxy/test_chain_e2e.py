"""HAProxy before nginx before a service, under traffic: flips, restarts, reloads, idle limits, and all kinds of requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import websockets

from manor.estate.model import Health, Static
from manor.estate.topology import Listener, Role, ServiceView, TrafficState
from manor.execution.values import HostPath
from tests.integrations.proxies import nodes, tiers
from tests.integrations.proxies.load import Load, ask, exchange, request
from tests.integrations.proxies.tiers import Echo, Tier, curl

pytestmark = pytest.mark.e2e
HOST = "shop.acme.example"
READY, DRAIN, MAINT = TrafficState.READY, TrafficState.DRAIN, TrafficState.MAINT


@dataclass
class Chain:
    """A running chain of one host, with both slots of one service."""

    service: ServiceView
    balancer: Tier
    web: Tier
    address: str

    @property
    def front(self) -> tuple[str, int]:
        """Where clients connect to."""
        return self.address, 8080

    async def healthy(self, slot: str) -> None:
        """Have a slot checked, and wait until it passes."""
        await self.balancer.until_servers(self.service, lambda views: views[f"web-1-{slot}"].is_healthy)

    async def flip(self, new: str, old: str) -> None:
        """Move all traffic from one slot to the other, and wait until the old one has none."""
        await self.balancer.switch(self.service, {f"web-1-{new}": READY, f"web-1-{old}": DRAIN})
        await self.balancer.until_servers(self.service, lambda views: views[f"web-1-{old}"].in_flight == 0)


def shop(address: str, keep_alive_seconds: float = 7.0) -> ServiceView:
    """Return the service."""
    routes = [nodes.route(HOST), nodes.route(HOST, path="/small", body_bytes=1000), nodes.route(HOST, path="/events", class_="stream")]
    health = Health(http="/healthz", interval="400ms", timeout="1s", passes=3)
    static = [Static(path="/static", dir="public")]
    return nodes.service(
        routes=routes, hosts=[("web-1", address)], health=health, static=static, keep_alive_seconds=keep_alive_seconds, response_seconds=3600.0
    )


@contextlib.asynccontextmanager
async def chain(root: HostPath, sockets: HostPath, address: str, *, accept_idle: float = 30.0, purge: str = "1s", keep_alive: int = 7) -> AsyncIterator[Chain]:
    """Start everything, with slot a ready and slot b checked; end it all."""
    service = shop(address, keep_alive)
    places = {"address": address, "root": root, "sockets": sockets}
    balancer = Tier(
        nodes.node("haproxy", Role.BALANCER, 0, services=[service], is_first=True, is_switching=True, options={"purge_delay": purge}, **places)  # type: ignore[arg-type]
    )
    web = Tier(
        nodes.node("nginx", Role.WEB, 1, services=[service], is_web=True, listeners=[], runs_as_root=True, accept_idle_seconds=accept_idle, **places)  # type: ignore[arg-type]
    )
    echoes = [Echo("a", address, 8100, keep_alive=keep_alive), Echo("b", address, 8101, keep_alive=keep_alive)]
    running = Chain(service, balancer, web, address)
    try:
        await web.start()
        await balancer.start()
        for one in echoes:
            await one.up()
        await balancer.switch(service, {"web-1-a": DRAIN, "web-1-b": DRAIN})
        await running.healthy("a")
        await balancer.switch(service, {"web-1-a": READY, "web-1-b": DRAIN})
        await running.healthy("b")
        yield running
    finally:
        for tier in (balancer, web):
            tier.stop()
        for echo in echoes:
            echo.stop()


async def test_thirty_flips_lose_nothing_and_a_cold_restart_comes_back_flipped(root: HostPath, sockets: HostPath, address: str) -> None:
    async with chain(root, sockets, address) as running:
        async with Load(running.front, HOST, clients=8, pause_seconds=0.015) as load:
            for turn in range(30):
                new, old = ("b", "a") if turn % 2 == 0 else ("a", "b")
                await running.flip(new, old)
                await asyncio.sleep(0.1)
            await running.flip("b", "a")
        assert load.tally.lost == []
        assert load.tally.sent > 500
        assert min(load.tally.slots["a"], load.tally.slots["b"]) > 100
        running.balancer.stop()
        await running.balancer.start()
        views = await running.balancer.servers(running.service)
        assert (views["web-1-a"].traffic, views["web-1-b"].traffic) == (DRAIN, READY)
        status, _, body = await ask(running.front, "GET", HOST)
        assert (status, json.loads(body)["slot"]) == (200, "b")


async def test_without_a_ready_slot_our_page_is_shown(root: HostPath, sockets: HostPath, address: str) -> None:
    async with chain(root, sockets, address) as running:
        await running.balancer.switch(running.service, {"web-1-a": READY, "web-1-b": MAINT})
        views = await running.balancer.servers(running.service)
        assert views["web-1-b"].traffic is MAINT
        assert views["web-1-b"].is_healthy is None
        await running.balancer.switch(running.service, {"web-1-a": MAINT, "web-1-b": MAINT})
        status, _, body = await ask(running.front, "GET", HOST)
        assert (status, body) == (503, b"<h1>our page 503</h1>\n")


async def test_ten_reloads_of_the_balancer_lose_nothing(root: HostPath, sockets: HostPath, address: str) -> None:
    async with chain(root, sockets, address) as running:
        async with Load(running.front, HOST, clients=8, pause_seconds=0.01) as load:
            for _ in range(10):
                await running.balancer.reload()
                await asyncio.sleep(0.2)
        assert load.tally.lost == []
        assert load.tally.sent > 500
        views = await running.balancer.servers(running.service)
        assert (views["web-1-a"].traffic, views["web-1-b"].traffic) == (READY, DRAIN)


async def test_ten_reloads_of_the_web_tier_lose_no_get(root: HostPath, sockets: HostPath, address: str) -> None:
    async with chain(root, sockets, address) as running:
        async with Load(running.front, HOST, clients=8, pause_seconds=0.01) as load:
            for _ in range(10):
                await running.web.reload()
                await asyncio.sleep(0.2)
        assert [lost for lost in load.tally.lost if not lost.startswith("POST")] == []
        assert len(load.tally.lost) <= 10, "a POST on a connection that is being closed may be lost, one or two a reload"


async def test_a_reload_with_other_files_is_taken_over(root: HostPath, sockets: HostPath, address: str) -> None:
    async with chain(root, sockets, address) as running:
        more = Listener(address, 8090)
        running.balancer.node = replace(running.balancer.node, listeners=(*running.balancer.node.listeners, more))
        tiers.write(running.balancer.node)
        await running.balancer.reload()
        status, _, _ = await ask((address, 8090), "GET", HOST)
        assert status == 200


async def test_a_second_balancer_does_not_share_the_port(root: HostPath, sockets: HostPath, address: str) -> None:
    async with chain(root, sockets, address) as running:
        other = replace(running.balancer.node, key="0-balancer-other")
        (program,) = running.balancer.proxy.programs(other)
        second = await asyncio.create_subprocess_exec(*program.argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        _, words = await asyncio.wait_for(second.communicate(), 10)
        assert second.returncode != 0
        assert b"Address already in use" in words
        status, _, _ = await ask(running.front, "GET", HOST)
        assert status == 200


async def test_bursts_at_the_idle_limits_lose_nothing(root: HostPath, sockets: HostPath, address: str) -> None:
    """Receivers close after 3 s (web) and 3 s (service); the bursts come 15 ms before, at, and after."""
    async with chain(root, sockets, address, accept_idle=4.0, purge="100ms", keep_alive=3) as running:
        lost: list[str] = []
        for pause in (2.985, 3.0, 3.015, 3.985, 4.0, 4.015):
            lost += [str(answer) for answer in await burst(running.front, 30) if answer != 200]
            await asyncio.sleep(pause)
        lost += [str(answer) for answer in await burst(running.front, 30) if answer != 200]
        assert lost == []


async def burst(front: tuple[str, int], count: int) -> list[object]:
    """Make so many POSTs at a time; return statuses or what went wrong."""
    answers = await asyncio.gather(*(ask(front, "POST", HOST, body=b"x") for _ in range(count)), return_exceptions=True)
    return [answer if isinstance(answer, BaseException) else answer[0] for answer in answers]


async def test_every_kind_of_request(root: HostPath, sockets: HostPath, address: str) -> None:
    async with chain(root, sockets, address) as running:
        await asyncio.gather(
            forged_headers(running),
            big_post(running),
            too_big_post(running),
            too_big_in_chunks(running),
            server_sent_events(running),
            web_socket(running),
            http2(running),
            own_pages(running),
        )
        await static_files(running)
        await logged(running)


async def logged(running: Chain) -> None:
    outer = {record.path: record for record in map(running.balancer.proxy.parse_access, running.balancer.lines()) if record}
    inner = {record.path: record for record in map(running.web.proxy.parse_access, running.web.lines()) if record}
    seen = outer["/x"]
    assert (seen.service, seen.method, seen.status, seen.upstream_status, seen.ended_by, seen.slot, seen.cache) == ("shop", "GET", 200, 200, "done", "a", "")
    assert seen.request_id == inner["/x"].request_id
    assert (inner["/x"].service, inner["/x"].slot, inner["/x"].host) == ("shop", "a", HOST)
    assert (outer["/small/x"].status, outer["/small/x"].upstream_status) == (413, None)
    assert abs(seen.time - inner["/x"].time) < 5
    assert not any("not-logged" in line for line in (*running.balancer.lines(), *running.web.lines()))


async def forged_headers(running: Chain) -> None:
    forged = ["X-Manor-Service: evil", "X_Manor_Service: evil", "x-manor_slot: evil", "X-Manor-Anything: evil", "X_REQUEST_ID: evil", "X-Request-Id: evil"]
    forged += ["Forwarded: for=evil", "X_Forwarded_For: evil", "X-Forwarded-For: evil", "X-Forwarded_Proto: evil", "X-Real-IP: evil", "X_Real_IP: evil"]
    _, answer, body = await ask(running.front, "GET", HOST, "/x?q=evil-not-logged", headers=forged)
    seen = json.loads(body)["headers"]
    assert "evil" not in json.dumps(seen)
    assert seen["x-manor-service"] == "shop"
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-forwarded-proto"] == "http"
    assert len(seen["x-request-id"]) == 36
    assert [name for name in answer if name.startswith("x-manor")] == []


async def big_post(running: Chain) -> None:
    status, _, body = await ask(running.front, "POST", HOST, body=b"x" * 10_000_000)
    assert (status, json.loads(body)["bytes"]) == (200, 10_000_000)


async def too_big_post(running: Chain) -> None:
    status, _, _ = await ask(running.front, "POST", HOST, "/small/x", body=b"x" * 1001)
    assert status == 413
    status, _, _ = await ask(running.front, "POST", HOST, "/smallest", body=b"x" * 1001)
    assert status == 200


async def too_big_in_chunks(running: Chain) -> None:
    """A body of unknown length is measured as it comes in, over many reads, whatever the route of its service allows that has no limit."""
    for path, size, wanted in (
        ("/small/few", 900, 200),
        ("/small/more", 1001, 413),
        ("/small/many", 300_000, 413),
        ("/large", 300_000, 200),
        ("/static/x", 300_000, 200),
    ):
        reader, writer = await asyncio.open_connection(*running.front)
        answer = asyncio.create_task(reader.readline())  # read as it comes: what is refused may be cut off while it is still sent
        writer.write(request("PUT", HOST, path, headers=["Transfer-Encoding: chunked", "X-Manor-Body: 1"]))
        try:
            for begin in range(0, size, 100_000):
                part = b"x" * min(100_000, size - begin)
                writer.write(b"%x\r\n%s\r\n" % (len(part), part))
                await writer.drain()
                await asyncio.sleep(0.05)
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        except ConnectionError:
            assert wanted == 413
        line = await asyncio.wait_for(answer, 10)
        writer.close()
        assert int(line.split()[1]) == wanted, (path, size, line)


async def server_sent_events(running: Chain) -> None:
    reader, writer = await asyncio.open_connection(*running.front)
    writer.write(request("GET", HOST, "/events", headers=["X-Events: 12"]))
    loop = asyncio.get_running_loop()
    times: list[float] = []
    async with asyncio.timeout(20):
        while len(times) < 12:
            line = await reader.readline()
            assert line, "cut off"
            if line.startswith(b"data:"):
                times.append(loop.time())
    writer.close()
    assert 3.0 < times[-1] - times[0] < 6.0, "events come when they are sent, not at the end"


async def web_socket(running: Chain) -> None:
    async with websockets.connect(f"ws://{HOST}:8080/ws", host=running.address, port=8080, proxy=None) as socket:
        await socket.send("hello")
        assert await socket.recv() == "a:hello"


async def http2(running: Chain) -> None:
    told = await curl("--http2", "-k", "--connect-to", f"::{running.address}:8443", "-w", "%{http_version} %{http_code}", "-o", "/dev/null", f"https://{HOST}/")
    assert told == "2 200"


async def own_pages(running: Chain) -> None:
    status, _, body = await ask(running.front, "GET", "unknown.example")
    assert (status, body) == (404, b"<h1>our page 404</h1>\n")
    status, _, body = await ask(running.front, "POST", "unknown.example", body=b"x")
    assert (status, body) == (404, b"<h1>our page 404</h1>\n")


async def static_files(running: Chain) -> None:
    slots = Path(running.web.node.folders.slots) / "shop"
    for slot in ("a", "b"):
        (slots / slot / "public").mkdir(parents=True)
        (slots / slot / "public" / "both.css").write_text(slot)
        (slots / slot / "public" / f"only-{slot}.js").write_text(slot)
    for port, path, body in ((18100, "both.css", b"a"), (18101, "both.css", b"b"), (18100, "only-b.js", b"b"), (18101, "only-a.js", b"a")):
        status, headers, got = await ask((running.address, port), "GET", HOST, f"/static/{path}")
        assert (status, got) == (200, body)
        assert headers["x-manor-slot"] == ("a" if port == 18100 else "b")
    _, headers, body = await ask((running.address, 18100), "GET", HOST, "/static/none.css")
    assert json.loads(body)["path"] == "/static/none.css"
    status, _, _ = await ask((running.address, 18100), "GET", HOST, "/static/../../../../etc/passwd")
    assert status in (200, 400)


async def test_maintenance_page(root: HostPath, sockets: HostPath, address: str) -> None:
    async with chain(root, sockets, address) as running:
        await running.balancer.page(running.service, on=True)
        status, headers, body = await ask(running.front, "POST", HOST, body=b"x")
        assert (status, headers["retry-after"], body) == (503, "30", b"<h1>our page maintenance</h1>\n")
        await running.balancer.reload()
        assert (await ask(running.front, "GET", HOST))[2] == b"<h1>our page maintenance</h1>\n"
        await running.balancer.page(running.service, on=False)
        assert (await ask(running.front, "GET", HOST))[0] == 200


async def test_kept_connection_survives_a_flip(root: HostPath, sockets: HostPath, address: str) -> None:
    async with chain(root, sockets, address) as running:
        reader, writer = await asyncio.open_connection(*running.front)
        first = await exchange(reader, writer, request("GET", HOST))
        await running.flip("b", "a")
        second = await exchange(reader, writer, request("POST", HOST, body=b"x"))
        writer.close()
        assert [json.loads(first[2])["slot"], json.loads(second[2])["slot"]] == ["a", "b"]


async def test_before_another_balancer(root: HostPath, sockets: HostPath, address: str) -> None:
    """A first tier that does not switch: own host's next tier first, the backup when that is gone."""
    async with chain(root, sockets, address) as running:
        ends = [nodes.endpoint("edge-1", address, 9010), nodes.endpoint("edge-2", address, 9011, backup=True)]
        places = {"address": address, "root": root, "sockets": sockets}
        listeners = [Listener(address, 8180), Listener(address, 8543, tls=True)]
        outer = Tier(
            nodes.node("haproxy", Role.ROUTER, 0, services=[running.service], is_first=True, next_=ends, listeners=listeners, **places)  # type: ignore[arg-type]
        )
        own, other = (
            Tier(nodes.node("haproxy", Role.BALANCER, place, services=[running.service], is_switching=True, listeners=[Listener(address, port)], **places))  # type: ignore[arg-type]
            for place, port in ((1, 9010), (2, 9011))
        )
        try:
            for tier in (own, other):
                await tier.runner.change(tier.proxy.switch_files(tier.node, running.service, {"web-1-a": READY, "web-1-b": DRAIN}))
                await tier.start()
            await outer.start()
            async with Load((address, 8180), HOST, clients=6, pause_seconds=0.01) as load:
                for _ in range(4):
                    await outer.reload()
                    await own.reload()
                    await asyncio.sleep(0.2)
            assert load.tally.lost == []
            assert load.tally.sent > 200
            status, _, _ = await ask((address, 9010), "GET", HOST)
            assert status == 404, "an inner tier goes by the stamp alone"
            own.stop()
            await asyncio.sleep(1.5)
            status, _, body = await ask((address, 8180), "GET", HOST)
            assert (status, json.loads(body)["headers"]["x-manor-service"]) == (200, "shop")
        finally:
            for tier in (outer, own, other):
                tier.stop()
