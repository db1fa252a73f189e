"""Builds `TierNode`s for the tests of every proxy product, with short arguments and sensible defaults.

Invariant: pure; addresses, ports and folders are the caller's, so that real processes can run from the same nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal

from manor.estate.layout import HostLayout
from manor.estate.model import Cache, Health, Redirect, Static
from manor.estate.topology import Endpoint, Listener, Role, RouteMatch, ServiceView, SlotServer, TierNode, TlsFiles, TrafficState
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


def node(
    product: str,
    role: Role,
    place: int,
    *,
    services: Sequence[ServiceView] = (),
    is_first: bool = False,
    is_switching: bool = False,
    is_web: bool = False,
    next_: Sequence[Endpoint] = (),
    host: str = "web-1",
    address: str = "127.202.0.11",
    listeners: Sequence[Listener] | None = None,
    admin_port: int | None = None,
    root: PurePosixPath = ROOT,
    sockets: PurePosixPath = SOCKETS,
    accept_idle_seconds: float | None = None,
    send_idle_seconds: float = 20.0,
    request_id: Literal["make", "from_trace", "take"] | None = None,
    has_cache: bool = False,
    runs_as_root: bool = False,
    options: Mapping[str, object] | None = None,
) -> TierNode:
    """Return one tier on one host."""
    key = f"{place}-{role.value}-{product}"
    standard = (Listener(address, 8080), Listener(address, 8443, tls=True)) if is_first else (Listener(address, 9000 + 10 * place),)
    return TierNode(
        estate="acme",
        environment="prod",
        host=host,
        address=address,
        place=place,
        role=role,
        product=product,
        key=key,
        is_first=is_first,
        is_switching=is_switching,
        is_web=is_web,
        listeners=tuple(listeners) if listeners is not None else standard,
        admin_address=address,
        admin_port=admin_port or 9005 + 10 * place,
        folders=HostLayout(root, sockets).tier(key),
        services=tuple(sorted(services, key=lambda view: view.name)),
        next=tuple(next_),
        accept_idle_seconds=accept_idle_seconds or (75.0 if is_first else 30.0),
        send_idle_seconds=send_idle_seconds,
        request_id=request_id or ("make" if is_first else "take"),
        tls=tls(root) if is_first else None,
        has_cache=has_cache,
        runs_as_root=runs_as_root,
        options=options or {},
    )


def traffic(view: ServiceView, ready: str, others: TrafficState = TrafficState.MAINT) -> dict[str, TrafficState]:
    """Return a traffic in which one slot (`a` or `b`) of every host is ready."""
    return {server.name: TrafficState.READY if server.slot == ready else others for server in view.servers}
