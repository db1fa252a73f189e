"""Traefik first, Varnish behind it, a service behind that: what reaches the service, what comes back, what is logged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from socket import create_connection
from typing import Any

import pytest
from websockets.sync.client import connect

from manor.estate.model import Bypass, Cache, Redirect
from manor.estate.topology import Listener, Role
from manor.execution.values import HostPath, PutFile
from manor.integrations.proxies.base import AccessRecord
from manor.integrations.proxies.traefik import product as traefik
from manor.integrations.proxies.varnish import product as varnish
from tests.integrations.proxies import certificates, kept, live, nodes
from tests.integrations.proxies.origin import Origin
from tests.integrations.proxies.origin import running as origin_running

pytestmark = pytest.mark.e2e
HOST = "shop.acme.example"
FORGED = ("X-Manor-Service", "X-Manor-Slot", "X-Manor-Cache", "X-Request-Id", "Forwarded", "X-Real-IP")
FORWARDED = ("For", "Host", "Proto", "Port", "Server", "Prefix")


class Chain:
    """Both tiers and the service, on one address."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.address = live.fresh_address()
        routes = [
            nodes.route(HOST),
            nodes.route(HOST, path="/up", class_="upload", body_bytes=11_000_000),
            nodes.route(HOST, path="/events", class_="stream"),
        ]
        redirects = [Redirect(**{"from": "old.acme.example/a", "to": "https://shop.acme.example/b?c=$1", "status": 302})]
        cache = Cache(ttl="5m", grace="1h", bypass=Bypass(paths=("/load",), cookies=("sessionid",)))
        shop = nodes.service("shop", routes=routes, redirects=redirects, cache=cache)
        folder = HostPath(root)
        listeners = [Listener(self.address, 8080), Listener(self.address, 8443, tls=True)]
        ends = [nodes.endpoint("edge-1", self.address, 9010)]
        self.first = nodes.node(
            "traefik", Role.ROUTER, 0, services=[shop], is_first=True, next_=ends, address=self.address, root=folder, listeners=listeners, send_idle_seconds=1.0
        )
        self.cache = nodes.node(
            "varnish",
            Role.CACHE,
            1,
            services=[shop],
            next_=[nodes.endpoint("edge-1", self.address, 9020)],
            address=self.address,
            root=folder,
            sockets=live.sockets_under(root),
            request_id="from_trace",
            accept_idle_seconds=2.0,
            send_idle_seconds=1.0,
        )
        self.origin = Origin()
        self.tiers: dict[str, live.Tier] = {}

    def curl(self, path: str, *more: str, host: str = HOST) -> str:
        """Return what curl prints for a request at the first tier."""
        return live.curl("-H", f"Host: {host}", *more, f"http://{self.address}:8080{path}").stdout

    def seen(self, path: str, *more: str) -> dict[str, Any]:
        """Return what the service saw of a request."""
        found: dict[str, Any] = json.loads(self.curl(path, *more))
        return found

    def records(self, tier: str, path: str, count: int = 1) -> list[AccessRecord]:
        """Return so many log records of a tier for a path."""
        running = self.tiers[tier]

        def found() -> list[AccessRecord]:
            parsed = [running.product.parse_access(line) for line in running.log_lines()]
            return [one for one in parsed if one and one.path == path]

        live.wait_for(lambda: len(found()) >= count, f"no record of {path}: {running.log_lines()[-3:]}", 5)
        return found()


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    chain = Chain(tmp_path_factory.mktemp("chain"))
    assert chain.first.tls is not None
    certificates.write(chain.first.tls, HOST)
    with origin_running(chain.origin, chain.address, 9020), live.running(chain.cache, varnish) as behind, live.running(chain.first, traefik) as first:
        chain.tiers = {"varnish": behind, "traefik": first}
        for tier in chain.tiers.values():
            asyncio.run(live.until_ready(tier))
        # varnishncsa looks for a log once a second until the cache's worker runs.
        live.wait_for(lambda: bool(chain.curl("/warm-up?pass", "-d", "x") and behind.log_lines()), "nothing is logged")
        yield chain


def headers(seen: dict[str, Any]) -> dict[str, list[str]]:
    """Return headers as the service saw them, with underscores as hyphens, since WSGI and PHP make one variable of both."""
    found: dict[str, list[str]] = {}
    for name, value in seen["headers"]:
        found.setdefault(name.lower().replace("_", "-").replace(".", "-"), []).append(value)
    return found


def test_forged_headers_of_both_spellings_do_not_arrive(chain: Chain) -> None:
    names = [*FORGED, *(f"X-Forwarded-{name}" for name in FORWARDED)]
    spelled = [*names, *(name.replace("-", "_") for name in names), *(name.replace("-", ".") for name in names)]
    arrived = headers(chain.seen("/forged", *(word for name in spelled for word in ("-H", f"{name}: evil"))))
    assert not [name for name, values in arrived.items() if "evil" in values]
    assert arrived["x-manor-service"] == ["shop"]
    assert arrived["x-forwarded-for"] == ["127.0.0.1"]
    assert arrived["x-real-ip"] == ["127.0.0.1"]
    assert arrived["x-forwarded-host"] == [HOST]
    assert arrived["x-forwarded-proto"] == ["http"]


def test_hit_miss_pass_and_what_leaves(chain: Chain) -> None:
    first, second = chain.curl("/page", "-i"), chain.curl("/page", "-i")
    assert json.loads(first.split("\n\n")[1])["count"] == json.loads(second.split("\n\n")[1])["count"]
    assert "x-manor" not in (first + second).split("{")[0].lower()
    chain.curl("/page?x", "-H", "Cookie: a=1; sessionid=2")
    records = chain.records("varnish", "/page", 3)
    assert [(one.cache, one.slot, one.upstream_status) for one in records] == [("miss", "a", 200), ("hit", "", None), ("pass", "a", 200)]
    assert all(one.service == "shop" and one.host == HOST and one.method == "GET" and one.ended_by == "done" for one in records)


def test_the_trace_id_is_the_request_id_everywhere(chain: Chain) -> None:
    seen = headers(chain.seen("/traced", "-d", "x"))
    identity = seen["x-request-id"][0]
    assert len(identity) == 32
    assert chain.records("traefik", "/traced")[0].request_id == identity
    assert chain.records("varnish", "/traced")[0].request_id == identity
    assert chain.records("traefik", "/traced")[0].service == "shop"


def test_unmatched_and_redirected_and_refused(chain: Chain) -> None:
    assert "our 404" in chain.curl("/", host="nobody.example")
    assert "location: https://shop.acme.example/b?c=$1\n" in chain.curl("/a/b", "-i", host="OLD.acme.example:8080").lower()
    assert chain.curl("/a", "-o", "/dev/null", "-w", "%{http_code}", host="old.acme.example") == "302"
    assert "our 404" in chain.curl("/ab", host="old.acme.example")
    assert chain.curl("/page", "-X", "PURGE", "-o", "/dev/null", "-w", "%{http_code}") == "405"


def test_log_lines_survive_quotes_and_drop_queries(chain: Chain) -> None:
    chain.curl("/odd%22\"'\\%7B?secret=1", "-g", "--path-as-is")
    for tier in ("varnish", "traefik"):
        records = [chain.tiers[tier].product.parse_access(line) for line in chain.tiers[tier].log_lines()]
        assert None not in records
        assert not [line for line in chain.tiers[tier].log_lines() if "secret" in line]


def test_a_large_body(chain: Chain, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"x" * 10_000_000)
    assert chain.seen("/up", "-T", str(body), "-X", "POST")["body"] == 10_000_000
    assert chain.seen("/up", "-T", str(body), "-X", "POST", "-H", "Transfer-Encoding: chunked")["body"] == 10_000_000
    body.write_bytes(b"x" * 11_000_001)
    for more in ((), ("-H", "Transfer-Encoding: chunked")):
        assert chain.curl("/up", "-T", str(body), "-X", "POST", *more, "-o", "/dev/null", "-w", "%{http_code}") == "413"


def test_server_sent_events_arrive_while_they_are_made(chain: Chain) -> None:
    done = live.curl("-N", "-H", f"Host: {HOST}", "-w", "%{time_starttransfer} %{time_total}", f"http://{chain.address}:8080/events?seconds=2").stdout
    lines = [line for line in done.splitlines() if line.startswith("data: ")]
    first, total = map(float, done.split("data: end")[1].split())
    assert len(lines) > 6
    assert first < 0.5 < 1.9 < total


def test_web_socket(chain: Chain) -> None:
    with connect(f"ws://{HOST}/socket", sock=create_connection((chain.address, 8080), 5)) as socket:
        socket.send("hello")
        assert socket.recv(timeout=5) == "echo hello"
    assert chain.records("varnish", "/socket")[0].cache == "pass"


def test_http2_over_tls(chain: Chain) -> None:
    assert chain.first.tls is not None
    arguments = ("--http2", "--cacert", str(chain.first.tls.certificate), "--resolve", f"{HOST}:8443:{chain.address}")
    done = live.curl(*arguments, "-w", "\n%{http_version}", f"https://{HOST}:8443/tls").stdout
    body, version = done.rsplit("\n", 1)
    assert version == "2"
    assert headers(json.loads(body))["x-forwarded-proto"] == ["https"]


async def test_a_reload_under_load_loses_nothing(chain: Chain) -> None:
    tier = chain.tiers["varnish"]
    text = live.files_under(chain.cache.folders.etc)["default.vcl"].read_text()
    async with kept.running(chain.address, 8080, {"Host": HOST}) as tally:
        for number in range(6):
            await tier.runner.carry_out(PutFile(chain.cache.folders.etc / "default.vcl", f"{text}# {number % 4}\n".encode()))
            for act in varnish.reload(chain.cache):
                await tier.runner.carry_out(act)
                await tier.runner.carry_out(act)
            await asyncio.sleep(0.1)
        assert "not by" in str(await live.loaded(tier))
        await tier.runner.carry_out(PutFile(chain.cache.folders.etc / "default.vcl", text.encode()))
        for act in varnish.reload(chain.cache):
            await tier.runner.carry_out(act)
        assert await live.loaded(tier) is None
    listed = (await tier.runner.run(live.command("varnishadm", "-n", str(varnish.programs(chain.cache)[0].argv[5]), "vcl.list"))).text
    assert tally.lost == []
    assert tally.total > 200
    assert len([line for line in listed.splitlines() if line.startswith("available") and "busy" not in line and "auto/warm" in line]) == 0, listed
    assert listed.count("active") == 1


async def test_bursts_at_the_idle_limits_lose_nothing(chain: Chain) -> None:
    statuses: list[int] = []
    for pause in (0.99, 1.01, 1.99, 2.01):
        connections = [kept.Connection(chain.address, 8080) for _ in range(15)]
        for _ in range(2):
            got = await asyncio.gather(*(one.ask("POST", "/load/burst", {"Host": HOST}, b"x") for one in connections))
            statuses += [status for status, _, _ in got]
            await asyncio.sleep(pause)
        for one in connections:
            one.close()
    assert set(statuses) == {200}


async def test_reload_of_the_router_under_load_loses_nothing(chain: Chain) -> None:
    tier = chain.tiers["traefik"]
    text = live.files_under(chain.first.folders.etc)["dynamic.yaml"].read_text()
    async with kept.running(chain.address, 8080, {"Host": HOST}) as tally:
        for number in range(5):
            changed = text.replace("initialInterval: 20ms", f"initialInterval: {21 + number}ms").encode()
            await tier.runner.carry_out(PutFile(chain.first.folders.etc / "dynamic.yaml", changed))
            for act in traefik.reload(chain.first):
                await tier.runner.carry_out(act)
            await asyncio.sleep(0.3)
    assert tally.lost == []
    assert tally.total > 200
    assert await live.loaded(tier) is None
    assert "25ms" in live.curl(f"http://{chain.address}:{chain.first.admin_port}/api/http/middlewares/manor.retry@file").stdout
