"""Builds `TierNode`s for the tests of every proxy product, with short arguments and sensible defaults.

Invariant: pure; addresses, ports and folders are the caller's, so that real processes can run from the same nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Literal, TypedDict, Unpack

from manor.estate.layout import HostLayout
from manor.estate.model import Cache, Health, Redirect, Static
from manor.estate.topology import Endpoint, Listener, Role, RouteMatch, ServiceView, SlotServer, Theirs, TierNode, TlsFiles, TrafficState
from manor.execution.values import HostPath

RouteClass = Literal["page", "api", "upload", "callback", "websocket", "stream"]
ROOT = HostPath("/srv/manor/prod/web-1")
SOCKETS = HostPath("/var/tmp/manor-0/0123456789")


def route(*hosts: str, path: str = "/", class_: RouteClass = "page", body_bytes: int | None = None) -> RouteMatch:
    """Return a route of these hosts."""
    return RouteMatch(hosts=hosts, path=path, class_=class_, body_bytes=body_bytes)


def slots(service: str, *hosts: tuple[str, str], port: int = 8100, has_program: bool = True) -> tuple[SlotServer, ...]:
    """Return both slots on each of the hosts, given as (name, address)."""
    letters: tuple[tuple[Literal["a", "b"], int], ...] = (("a", 0), ("b", 1))
    found = [
        SlotServer(f"{host}-{slot}", f"{service}@{host}#1", slot, host, address, port + 10000 + offset, port + offset if has_program else None)
        for host, address in hosts
        for slot, offset in letters
    ]
    return tuple(sorted(found, key=lambda server: server.name))


def service(
    name: str = "shop",
    *,
    routes: Sequence[RouteMatch] | None = None,
    hosts: Sequence[tuple[str, str]] = (("web-1", "127.202.0.11"), ("web-2", "127.202.0.12")),
    port: int = 8100,
    health: Health | None = None,
    redirects: Sequence[Redirect] = (),
    static: Sequence[Static] = (),
    cache: Cache | None = None,
    has_program: bool = True,
    keep_alive_seconds: float | None = 7.0,
    response_seconds: float = 60.0,
    drain_seconds: float = 30.0,
    probe_paths: Sequence[str] = ("/healthz",),
    extra: Mapping[str, Mapping[str, bytes]] | None = None,
) -> ServiceView:
    """Return a service with two slots on each host."""
    matches = tuple(routes) if routes is not None else (route(f"{name}.acme.example"),)
    return ServiceView(
        name=name,
        routes=matches,
        redirects=tuple(redirects),
        static=tuple(static),
        cache=cache,
        health=health or Health(http="/healthz", interval="2s", timeout="2s"),
        health_host=matches[0].hosts[0] if matches else f"{name}.acme.example",
        servers=slots(name, *hosts, port=port, has_program=has_program),
        has_program=has_program,
        keep_alive_seconds=keep_alive_seconds,
        response_seconds=response_seconds,
        drain_seconds=drain_seconds,
        probe_paths=tuple(probe_paths),
        extra=extra or {},
    )


def endpoint(host: str, address: str, port: int, backup: bool = False) -> Endpoint:
    """Return a place of the next tier."""
    return Endpoint(host, host, address, port, backup)


def tls(root: HostPath = ROOT) -> TlsFiles:
    """Return where the first tier's certificate lies."""
    folder = HostLayout(root, root).tls
    return TlsFiles(folder / "estate.crt", folder / "estate.key", folder / "estate.pem")


class Given(TypedDict, total=False):
    """What else may be said about a node; None is the default."""

    services: Sequence[ServiceView]
    is_switching: bool
    is_web: bool
    host: str
    listeners: Sequence[Listener] | None
    admin_port: int | None
    accept_idle_seconds: float | None
    send_idle_seconds: float
    request_id: Literal["make", "from_trace", "take"] | None
    has_cache: bool
    runs_as_root: bool
    options: Mapping[str, object] | None


def node(
    product: str,
    role: Role,
    place: int,
    *,
    is_first: bool = False,
    next_: Sequence[Endpoint] = (),
    address: str = "127.202.0.11",
    root: PurePosixPath = ROOT,
    sockets: PurePosixPath = SOCKETS,
    **given: Unpack[Given],
) -> TierNode:
    """Return one tier on one host."""
    plain = first_node(product, role, place, address) if is_first else inner_node(product, role, place, address)
    said: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    said["services"] = tuple(sorted(said.get("services", ()), key=lambda view: view.name))
    said["listeners"] = tuple(said.get("listeners", plain.listeners))
    return replace(plain, folders=HostLayout(root, sockets).tier(plain.key), next=tuple(next_), tls=tls(root) if is_first else None, **said)


def first_node(product: str, role: Role, place: int, address: str) -> TierNode:
    """Return a first tier that knows nothing yet."""
    listeners = (Listener(address, 8080), Listener(address, 8443, tls=True))
    return replace(inner_node(product, role, place, address), is_first=True, listeners=listeners, accept_idle_seconds=75.0, request_id="make")


def inner_node(product: str, role: Role, place: int, address: str) -> TierNode:
    """Return a later tier that knows nothing yet."""
    key = f"{place}-{role.value}-{product}"
    return TierNode(
        estate="acme",
        environment="prod",
        host="web-1",
        address=address,
        place=place,
        role=role,
        product=product,
        key=key,
        is_first=False,
        is_switching=False,
        is_web=False,
        listeners=(Listener(address, 9000 + 10 * place),),
        admin_address=address,
        admin_port=9005 + 10 * place,
        folders=HostLayout(ROOT, SOCKETS).tier(key),
        services=(),
        next=(),
        accept_idle_seconds=30.0,
        send_idle_seconds=20.0,
        request_id="take",
    )


def include(product: str, folder: str = "/srv/theirs") -> Theirs:
    """Return somebody's own program with a folder for our file."""
    socket = HostPath(f"{folder}/admin.sock") if product == "haproxy" else None
    return Theirs("include", HostPath(f"{folder}/conf.d"), HostPath(f"{folder}/{product}.conf"), HostPath(f"{folder}/{product}.pid"), socket)


def traffic(view: ServiceView, ready: str, others: TrafficState = TrafficState.MAINT) -> dict[str, TrafficState]:
    """Return a traffic in which one slot (`a` or `b`) of every host is ready."""
    return {server.name: TrafficState.READY if server.slot == ready else others for server in view.servers}
