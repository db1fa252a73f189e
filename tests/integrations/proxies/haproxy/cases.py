"""The HAProxy tiers whose files are kept under `cases/`, by name."""

from __future__ import annotations

from dataclasses import replace

from manor.estate.model import Health, Redirect
from manor.estate.topology import Role, ServiceView, Theirs, TierNode
from manor.execution.values import HostPath
from tests.integrations.proxies import nodes


def shop() -> ServiceView:
    """Return a service with every kind of route, and redirects."""
    routes = [
        nodes.route("shop.acme.example", "www.acme.example"),
        nodes.route("shop.acme.example", path="/hooks", class_="callback"),
        nodes.route("shop.acme.example", path="/media/upload", class_="upload", body_bytes=200 * 1024**2),
        nodes.route("shop.acme.example", path="/live/", class_="stream"),
        nodes.route("shop.acme.example", path="/socket/", class_="websocket"),
    ]
    redirects = [
        Redirect(**{"from": "old.acme.example/shop", "to": "https://shop.acme.example/100%25", "status": 301}),
        Redirect(**{"from": "shop.acme.example/basket", "to": "/cart"}),
    ]
    extra = {"haproxy": {"frontend": b"http-request deny if { path_beg /internal }\n", "backend": b"fullconn 500\n"}}
    return nodes.service("shop", routes=routes, redirects=redirects, response_seconds=600.0, drain_seconds=600.0, extra=extra)


def crm() -> ServiceView:
    """Return a service whose port is checked."""
    return nodes.service("crm", port=8200, health=Health(tcp=True, interval="500ms", timeout="1s", passes=2, fails=1))


def docs() -> ServiceView:
    """Return a service of files only."""
    return nodes.service("docs", port=8300, has_program=False, health=Health(http="/?check=1"), hosts=[("web-1", "127.202.0.11")])


def first() -> TierNode:
    """Return a router before a cache, with a backup on another host."""
    ends = [nodes.endpoint("edge-1", "127.202.0.11", 9010), nodes.endpoint("edge-2", "127.202.0.12", 9010, backup=True)]
    return nodes.node("haproxy", Role.BALANCER, 0, services=[shop(), crm(), docs()], is_first=True, next_=ends)


def inner() -> TierNode:
    """Return a balancer between two tiers, after one that only has trace ids."""
    ends = [nodes.endpoint("edge-1", "127.202.0.11", 9020)]
    return nodes.node("haproxy", Role.BALANCER, 1, services=[shop(), crm()], next_=ends, request_id="from_trace")


def switching() -> TierNode:
    """Return the balancer before the web tier."""
    return nodes.node("haproxy", Role.BALANCER, 2, services=[shop(), crm(), docs()], is_switching=True)


def only() -> TierNode:
    """Return the balancer of the chain `balancer web`: first and switching, with every option."""
    options = {
        "balance": "roundrobin",
        "connections": 500,
        "threads": 2,
        "purge_delay": "500ms",
        "connect_timeout": "1s",
        "queue_timeout": "3s",
        "header_timeout": "5s",
        "hard_stop": "90s",
    }
    return nodes.node("haproxy", Role.BALANCER, 0, services=[shop(), crm()], is_first=True, is_switching=True, options=options)


def beside() -> TierNode:
    """Return the balancer of `balancer web` as a part of somebody else's HAProxy."""
    return replace(only(), theirs=nodes.include("haproxy"), options={})


def beside_inner() -> TierNode:
    """Return a balancer between two tiers as a part of somebody else's HAProxy."""
    return replace(inner(), theirs=nodes.include("haproxy"))


def pasted() -> TierNode:
    """Return the balancer of `balancer web` where Manor writes no file."""
    return replace(only(), theirs=Theirs("runtime", socket=HostPath("/srv/theirs/admin.sock")))


CASES = {"first_before_another": first(), "inner_from_trace": inner(), "switching": switching(), "first_and_switching_all_options": only()}

PARTS = {"beside_theirs": beside(), "beside_theirs_inner": beside_inner()}
"""Parts of somebody else's program, which its checker judges together with theirs."""
PASTED = {"pasted": pasted()}
