"""The next tier on the own host fails: the one on another host takes over, and hands back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from manor.estate.topology import Endpoint, Listener, Role
from manor.execution.values import HostPath
from manor.integrations.proxies.traefik import product as traefik
from manor.integrations.proxies.varnish import product as varnish
from tests.integrations.proxies import certificates, live, nodes
from tests.integrations.proxies.origin import Origin
from tests.integrations.proxies.origin import running as origin_running

pytestmark = pytest.mark.e2e


def endpoints(address: str, other: str) -> list[Endpoint]:
    return [nodes.endpoint("edge-1", address, 9020), nodes.endpoint("edge-2", other, 9020, backup=True)]


@pytest.mark.parametrize("name", ["traefik", "varnish"])
def test_the_backup_takes_over_and_hands_back(name: str, tmp_path: Path) -> None:
    address, other = live.fresh_address(), live.fresh_address()
    shop = nodes.service("shop")
    if name == "traefik":
        listeners = [Listener(address, 8080)]
        node = nodes.node(
            name, Role.ROUTER, 0, services=[shop], is_first=True, next_=endpoints(address, other), address=address, root=HostPath(tmp_path), listeners=listeners
        )
        assert node.tls is not None
        certificates.write(node.tls, "shop.acme.example")
    else:
        folder = live.sockets_under(tmp_path)
        node = nodes.node(name, Role.CACHE, 0, services=[shop], next_=endpoints(address, other), address=address, root=HostPath(tmp_path), sockets=folder)
    product = traefik if name == "traefik" else varnish
    port = node.listeners[0].port

    def slot() -> str:
        done = live.curl("-H", "Host: shop.acme.example", "-H", "X-Manor-Service: shop", f"http://{address}:{port}/x").stdout
        return done.split('"slot": "')[1][0] if '"slot"' in done else done

    with origin_running(Origin("b"), other, 9020), live.running(node, product) as tier:
        with origin_running(Origin("a"), address, 9020):
            asyncio.run(live.until_ready(tier))
            live.wait_for(lambda: slot() == "a", "the own host is not preferred")
            assert {slot() for _ in range(10)} == {"a"}
        live.wait_for(lambda: slot() == "b", f"the backup does not take over: {slot()}", 8)
        assert {slot() for _ in range(10)} == {"b"}
        with origin_running(Origin("a"), address, 9020):
            live.wait_for(lambda: slot() == "a", "the own host does not get its traffic back", 12)
