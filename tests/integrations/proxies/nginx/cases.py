"""The nginx tiers whose files are kept under `cases/`, by name."""

from __future__ import annotations

from dataclasses import replace

from manor.estate.model import Health, Redirect, Static
from manor.estate.topology import Role, ServiceView, TierNode
from tests.integrations.proxies import nodes


def shop() -> ServiceView:
    """Return a service with every kind of route, static files, redirects and verbatim lines."""
    routes = [
        nodes.route("shop.acme.example", "www.acme.example"),
        nodes.route("shop.acme.example", path="/media/upload", class_="upload", body_bytes=200 * 1024**2),
        nodes.route("shop.acme.example", path="/live/", class_="stream"),
    ]
    redirects = [
        Redirect(**{"from": "old.acme.example/shop", "to": "https://shop.acme.example/$new", "status": 301}),
        Redirect(**{"from": "shop.acme.example/basket", "to": "/cart"}),
    ]
    static = [Static(path="/static", dir="public"), Static(path="/static/vendor", dir="vendor/dist")]
    extra = {"nginx": {"server": b'add_header X-Extra "yes";\nlocation = /ping { return 204; }\n'}}
    return nodes.service("shop", routes=routes, redirects=redirects, static=static, response_seconds=3600.0, extra=extra)


def crm() -> ServiceView:
    """Return a service whose idle limit is not known."""
    return nodes.service("crm", port=8200, health=Health(tcp=True), keep_alive_seconds=None, routes=[nodes.route("crm.acme.example", body_bytes=10_000_000)])


def docs() -> ServiceView:
    """Return a service of files only."""
    return nodes.service("docs", port=8300, has_program=False, static=[Static(path="/", dir="site")])


def web() -> TierNode:
    """Return the web tier of a longer chain."""
    return nodes.node("nginx", Role.WEB, 3, services=[shop(), crm(), docs()], is_web=True, listeners=[], runs_as_root=True)


def after_router() -> TierNode:
    """Return the web tier just after a first tier that only has trace ids, with every option."""
    options = {"workers": 2, "connections": 1024, "kept": 16, "connect_timeout": "1s", "header_timeout": "5s"}
    return nodes.node("nginx", Role.WEB, 1, services=[crm()], is_web=True, listeners=[], request_id="from_trace", options=options)


def alone() -> TierNode:
    """Return nginx as the whole chain."""
    return nodes.node("nginx", Role.WEB, 0, services=[shop(), crm(), docs()], is_first=True, is_switching=True, is_web=True)


def beside() -> TierNode:
    """Return the web tier as a part of somebody else's nginx."""
    return replace(web(), theirs=nodes.include("nginx"))


def beside_alone() -> TierNode:
    """Return nginx as the whole chain, as a part of somebody else's nginx."""
    return replace(alone(), theirs=nodes.include("nginx"))


CASES = {"web": web(), "web_from_trace_all_options": after_router(), "alone": alone()}

PARTS = {"beside_theirs": beside(), "beside_theirs_alone": beside_alone()}
"""Parts of somebody else's program, which its checker judges together with theirs."""
