"""The tiers whose files are kept under `cases/`, by name."""

from __future__ import annotations

from typing import Any

from manor.estate.model import Cache, Health, Redirect
from manor.estate.topology import Listener, Role, TierNode
from manor.execution.values import HostPath
from tests.integrations.proxies import nodes


def shop(address: str = "127.202.0.11", **more: Any) -> Any:
    """Return a service with every kind of route."""
    routes = [
        nodes.route("shop.acme.example", "www.acme.example"),
        nodes.route("shop.acme.example", path="/hooks", class_="callback"),
        nodes.route("shop.acme.example", path="/media/upload", class_="upload", body_bytes=200 * 1024**2),
        nodes.route("shop.acme.example", path="/live/", class_="stream"),
    ]
    redirects = [
        Redirect(**{"from": "old.acme.example/shop", "to": "https://shop.acme.example/", "status": 301}),
        Redirect(**{"from": "shop.acme.example/basket", "to": "/cart"}),
    ]
    hosts = [("web-1", address), ("web-2", "127.202.0.12")]
    return nodes.service("shop", routes=routes, redirects=redirects, hosts=hosts, cache=Cache(ttl="5m", grace="1h"), response_seconds=600.0, **more)


def crm() -> Any:
    """Return a plain service."""
    return nodes.service("crm", port=8200, health=Health(http="/up?deep=1", interval="500ms", timeout="2s", status=204))


def first(**more: Any) -> TierNode:
    """Return a router before another tier, with a backup on another host."""
    address = more.pop("address", "127.202.0.11")
    ends = more.pop("next_", [nodes.endpoint("edge-1", address, 9010), nodes.endpoint("edge-2", "127.202.0.12", 9010, backup=True)])
    return nodes.node("traefik", Role.ROUTER, 0, services=[shop(), crm()], is_first=True, next_=ends, address=address, **more)


def switching(**more: Any) -> TierNode:
    """Return an inner tier that switches slots."""
    address = more.pop("address", "127.202.0.11")
    return nodes.node("traefik", Role.ROUTER, 2, services=[shop(address), crm()], is_switching=True, address=address, **more)


def only(**more: Any) -> TierNode:
    """Return a router that is the first and the switching tier at once."""
    address = more.pop("address", "127.202.0.11")
    return nodes.node("traefik", Role.ROUTER, 0, services=[shop(address), crm()], is_first=True, is_switching=True, address=address, **more)


CASES = {
    "first_with_backup": first(),
    "first_single_next_all_options": first(
        next_=[nodes.endpoint("edge-1", "127.202.0.11", 9010)],
        options={"log_level": "WARN", "accept_grace": "2s", "finish_grace": "5s", "idle_connections": 8, "dial_timeout": "500ms", "body_in_memory": 4096},
    ),
    "switching_inner": switching(),
    "first_and_switching": only(),
}


def at(name: str, address: str, root: HostPath) -> TierNode:
    """Return the case on an address and in a folder of the test's own."""
    make = {"first_with_backup": first, "switching_inner": switching, "first_and_switching": only}.get(name, first)
    listeners = [Listener(address, 8080), Listener(address, 8443, tls=True)] if name.startswith("first") else None
    return make(address=address, root=root, listeners=listeners)
