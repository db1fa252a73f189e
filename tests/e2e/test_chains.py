"""Every chain carries what real traffic consists of, and flips without a loss, all chains up at once (docs/traffic.md)."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from manor.estate.ports import first_ports
from tests.e2e.estates import LiveEstate, curl, wait_until
from tests.e2e.faulty import Faulty
from tests.e2e.orphans import instances_of

CHAINS = {
    "router-cache-balancer-web": "",
    "balancer-cache-router-web": "[{balancer: haproxy}, {cache: varnish}, {router: traefik}, {web: nginx}]",
    "balancer-cache-balancer-web": "[{balancer: haproxy}, {cache: varnish}, {balancer: haproxy}, {web: nginx}]",
    "balancer-web": "[{balancer: haproxy}, {web: nginx}]",
    "web": "[{web: nginx}]",
}
CACHED = {name for name in CHAINS if "cache" in name}
EVENT_SECONDS = int(os.environ.get("MANOR_TEST_EVENT_SECONDS", "90"))

ESTATE = """\
estate: chains
domain: chains.example
services:
  echo:
    run: {{command: "python3 -m echo --bind {{address}}:{{port}} --keep-alive 75", port: 8300, keep_alive: 75s}}
    health: {{http: /healthz, interval: 1s}}
    routes:
      - {{host: echo}}
      - {{host: echo, path: /ws, class: websocket}}
      - {{host: echo, path: /events, class: stream}}
      - {{host: echo, path: /upload, class: upload, body: 20MiB}}
    redirects:
      - {{from: old.chains.example/shop, to: "https://shop.chains.example/new?from=old", status: 301}}
      - {{from: echo.chains.example/basket, to: /cart}}
      - {{from: echo.chains.example/basket/kept, to: /kept, status: 302}}
    cache: {{ttl: 60s, grace: 60s}}
    rollout: {{min_healthy_time: 0.5s, settle: 200ms, drain_timeout: 2s}}
  shop:
    run: {{command: "python3 -m echo --bind {{address}}:{{port}} --keep-alive 75", port: 8320, keep_alive: 75s}}
    health: {{http: /healthz, interval: 250ms, passes: 2}}
    routes: [{{host: shop}}, {{host: shop, path: /ws, class: websocket}}]
    cache: {{ttl: 60s, grace: 60s, bypass: {{paths: [/watched, /who]}}}}
    probe: [{{path: /probed, rate: 20}}]
    rollout: {{min_healthy_time: 0.2s, settle: 100ms, drain_timeout: 1s, bake: 1s}}
environments:
  prod: {{hosts: {{edge: 1, web: 2}}}}
{traffic}
"""


RESTARTING = 1012
"""Service Restart, as uvicorn closes WebSockets when it is told to end (IANA's registry for RFC 6455, 11.7)."""


class Chain:
    """One chain that is up and serves."""

    def __init__(self, name: str, estate: LiveEstate, shop: Faulty) -> None:
        self.name = name
        self.estate = estate
        self.shop = shop
        self.host, self.port = estate.front("prod")

    def ask(self, path: str, *options: str, timeout: float = 30) -> str:
        """Ask, and hold that it is answered."""
        done = curl(self.estate, self.host, self.port, path, *options, timeout=timeout)
        assert done.returncode == 0, f"{self.name}: {path}: {done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def chains(make_estate: Callable[[str], LiveEstate], echo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Chain]:
    """Every chain, up at once, with a release of each service."""

    def bring(name: str, chain: str) -> Chain:
        estate = make_estate(ESTATE.format(traffic=f"traffic: {{chain: {chain}}}" if chain else ""))
        shop = Faulty(estate, echo, tmp_path_factory.mktemp(name), service="shop").begin()
        estate.run("ship", "echo", "--artifact", str(echo), "--commit", "c0ffee")
        return Chain(name, estate, shop)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(CHAINS, pool.map(bring, CHAINS, CHAINS.values()), strict=True))


@pytest.fixture(scope="module", autouse=True)
def events(chains: dict[str, Chain]) -> Iterator[dict[str, Future[str]]]:
    """Server-sent events over every chain for 90 s, while everything else goes on."""
    with ThreadPoolExecutor(len(CHAINS)) as pool:
        yield {name: pool.submit(chain.ask, f"/events?seconds={EVENT_SECONDS}&every=1", timeout=EVENT_SECONDS + 30) for name, chain in chains.items()}


@pytest.fixture(params=CHAINS)
def chain(request: pytest.FixtureRequest, chains: dict[str, Chain]) -> Chain:
    """One of the chains."""
    return chains[request.param]


def test_http_2_ends_at_the_first_tier(chain: Chain) -> None:
    out = chain.ask("/hello", "--http2", "-w", "\n%{http_version}")
    body, _, version = out.rpartition("\n")
    assert version == "2"
    assert json.loads(body)["path"] == "/hello"


def test_a_large_post_arrives_whole(chain: Chain, tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(bytes(range(256)) * 40960)
    answer = json.loads(chain.ask("/upload", "--data-binary", f"@{file}", "-H", "Expect:"))
    assert answer["method"] == "POST"
    assert answer["body"] == {"bytes": 10485760, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def test_a_body_over_the_limit_is_refused(chain: Chain, tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(b"x" * (21 * 1024 * 1024))
    options = ("--http1.1", "--data-binary", f"@{file}", "-H", "Expect: 100-continue", "-o", "/dev/null", "-w", "%{http_code}")
    done = curl(chain.estate, chain.host, chain.port, "/upload", *options)
    assert done.stdout == "413", done.stderr


def socket_to(chain: Chain, host: str) -> ClientConnection:
    """Open a WebSocket at the front door."""
    context = ssl.create_default_context(cafile=str(chain.estate.authority))
    there = socket.create_connection(("127.0.0.1", chain.port), 10)
    return connect(f"wss://{host}:{chain.port}/ws", sock=there, ssl=context, server_hostname=host, open_timeout=10)


def test_a_websocket_says_everything_back(chain: Chain) -> None:
    with socket_to(chain, chain.host) as client:
        for text in ("hello", "x" * 100_000):
            client.send(text)
            assert client.recv(timeout=10) == text


FORGED = {
    "X-Manor-Service": "evil",
    "X_Manor_Service": "evil",
    "X-Manor-Slot": "z",
    "X_MANOR_SLOT": "z",
    "X-Request-Id": "forged",
    "X_Request_Id": "forged",
    "X-Forwarded-For": "6.6.6.6",
    "X_Forwarded_For": "6.6.6.6",
    "X-Forwarded-Host": "evil.example",
    "X_Forwarded_Host": "evil.example",
    "X-Real-IP": "6.6.6.6",
    "X_Real_IP": "6.6.6.6",
    "Forwarded": "for=6.6.6.6",
}


def test_forged_headers_do_not_reach_the_service(chain: Chain) -> None:
    options = [word for name, value in FORGED.items() for word in ("-H", f"{name}: {value}")]
    seen = {name.lower().replace("_", "-"): value for name, value in json.loads(chain.ask("/headers", *options))["headers"].items()}
    assert "evil" not in str(seen)
    assert "6.6.6.6" not in str(seen)
    assert "forged" not in str(seen)
    assert seen["x-manor-service"] == "echo"
    assert seen["x-forwarded-proto"] == "https"
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert len(seen["x-request-id"]) >= 32


def test_nothing_of_the_inside_leaves(chain: Chain) -> None:
    head = chain.ask("/inside", "-D", "-", "-o", "/dev/null").lower()
    assert "x-manor-" not in head


def test_what_no_route_matches_is_404_at_the_first_tier(chain: Chain) -> None:
    done = curl(chain.estate, "unknown.example", chain.port, "/", "-k", "-o", "/dev/null", "-w", "%{http_code}")
    assert done.stdout == "404"


MOVED = {
    "old.chains.example/shop": (301, "https://shop.chains.example/new?from=old"),
    "old.chains.example/shop/below?a=1": (301, "https://shop.chains.example/new?from=old"),
    "old.chains.example/shopping": (404, ""),
    "old.chains.example/": (404, ""),
    "echo.chains.example/basket": (308, "/cart"),
    "echo.chains.example/basket/kept/it": (302, "/kept"),
    "echo.chains.example/baskets": (200, ""),
}
"""What is asked for, the status, and where it has moved to; the path is the redirect's own, or lies under it."""


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_has_moved_is_answered_by_the_first_tier(chain: Chain, method: str) -> None:
    said = "\n%{http_code} %header{location}"
    for asked, (status, location) in MOVED.items():
        host, _, path = asked.partition("/")
        answer = curl(chain.estate, host, chain.port, f"/{path}", "-k", "-X", method, "-w", said).stdout.rpartition("\n")[2]
        code, _, told = answer.partition(" ")
        here = f"https://{host}:{chain.port}/{path}"
        assert (code, told and urljoin(here, told)) == (str(status), location and urljoin(here, location)), asked


def test_a_cacheable_answer_comes_from_the_cache_and_others_do_not(chain: Chain) -> None:
    bodies = [chain.ask("/cacheable?max_age=60&n=1") for _ in range(3)]
    made = {json.loads(body)["at"] for body in bodies}
    assert len(made) == (1 if chain.name in CACHED else 3)
    posts = {json.loads(chain.ask("/cacheable?max_age=60&n=1", "-X", "POST", "-d", "a"))["at"] for _ in range(2)}
    assert len(posts) == 2


def test_one_request_id_in_every_tier(chain: Chain) -> None:
    identifier = json.loads(chain.ask("/traced"))["headers"]["x-request-id"]
    wanted = {f"{place}-{role}" for place, role in enumerate(chain.name.split("-"))}

    def hops() -> list[dict[str, Any]]:
        found = chain.estate.results("trace", identifier, "-e", "prod", ok=(0, 1))
        return list(found[0]["hops"]) if found else []

    wait_until(lambda: len(hops()) >= len(wanted), 10, "every tier's line")
    seen = hops()
    assert {hop["tier"].rpartition("-")[0] for hop in seen} == wanted
    assert {hop["record"]["request_id"] for hop in seen} == {identifier}


def tiers_of(estate: LiveEstate) -> dict[str, set[int]]:
    """Return the pids of each tier on each host: masters, workers and all."""
    found = instances_of(estate.folder)
    return {instance: {process.pid for process in processes} for instance, processes in found.items() if ":tier-" in instance}


def files_of(estate: LiveEstate) -> dict[Path, tuple[bytes, int]]:
    """Return what the tiers' files hold, and when each was written."""
    folders = [folder for host in ("edge-1", "web-1", "web-2") for folder in (estate.host_folder("prod", host) / "etc").glob("[0-9]-*")]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for folder in folders for path in folder.rglob("*") if path.is_file()}


def test_a_flip_under_load_loses_nothing_and_touches_no_tier(chain: Chain) -> None:
    """The other service's events flow on meanwhile; an open WebSocket is closed in order by the program that ends, and its client comes back."""
    shop, before = chain.shop, chain.shop.certified
    if chain.name == "web":  # each web host is a front door of its own
        addresses = {host["name"]: host["address"] for host in shop.status()["hosts"]}
        shop.others = ((addresses["web-2"], first_ports(is_local=True)[1]),)
    tiers, files = tiers_of(chain.estate), files_of(chain.estate)
    places = {tuple(instance.rpartition("/")[2].split("-")[:5]) for instance in tiers}
    assert len(places) == sum({"web": 2}.get(role, 1) for role in chain.name.split("-")), places
    shop_host = chain.host.replace("echo", "shop", 1)
    with shop.watched() as watch, socket_to(chain, shop_host) as client:
        client.send("before")
        assert client.recv(timeout=10) == "before"
        shop.ship("second")
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=30)
    assert closed.value.rcvd is not None, "the connection was cut, without a close frame"
    assert closed.value.rcvd.code == RESTARTING
    with socket_to(chain, shop_host) as client:
        client.send("after")
        assert client.recv(timeout=10) == "after"
    after = chain.estate.certified("prod", "shop")
    assert after != before
    watch.require_nothing_lost(before, after)
    receipt = chain.estate.results("receipt", "shop", "-e", "prod")[-1]["receipt"]
    assert (receipt["state"], receipt["release"], receipt["probe"]["lost"]) == ("certified", after, 0)
    assert receipt["probe"]["sent"] > 20
    assert not any(drain["was_cut"] for drain in receipt["drains"])
    assert sum(drain["websockets"] for drain in receipt["drains"]) == (1 if receipt["switch"] == "counted" else 0)
    assert "certified, lost 0 of " in chain.estate.run("receipt", "shop", "-e", "prod").stdout
    assert json.loads(shop.answer("/who"))["release"] == after
    assert tiers_of(chain.estate) == tiers, "a tier was restarted or reloaded"
    assert files_of(chain.estate) == files, "a tier's files were written"
    shop.require_well(after)


@pytest.mark.parametrize("name", CHAINS)
def test_events_flow_for_ninety_seconds(events: dict[str, Future[str]], name: str) -> None:
    lines = [line for line in events[name].result(EVENT_SECONDS + 60).splitlines() if line.startswith("data:")]
    assert len(lines) >= EVENT_SECONDS - 2
