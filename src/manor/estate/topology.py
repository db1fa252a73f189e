"""What each tier on each host has to do, worked out from the estate and neutral of products.

A `TierNode` is all that a product is given to render from; two hosts with equal nodes get equal files.

Invariant: plain values only; a function of the estate and the addresses alone, never of which slot is active.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from manor.estate.layout import TierFolders
from manor.estate.model import Cache, Health, Redirect, Static
from manor.execution.values import HostPath


class Role(StrEnum):
    """What a tier is for."""

    ROUTER = "router"
    CACHE = "cache"
    BALANCER = "balancer"
    WEB = "web"


class Switch(StrEnum):
    """How a product moves traffic between servers at run time (docs/traffic.md)."""

    COUNTED = "counted"
    """Requests in flight per server are known, so a drain ends when they reach 0."""
    TIMED = "timed"
    """They are not known, so a drain waits for its whole time."""
    NONE = "none"


class TrafficState(StrEnum):
    """What a switching tier does with one server."""

    MAINT = "maint"
    """No traffic, no checks."""
    DRAIN = "drain"
    """No new traffic, still checked."""
    READY = "ready"
    """Takes its share while its checks pass."""


@dataclass(frozen=True)
class ProxyTraits:
    """What a product can do, so that a chain it cannot serve is refused by name."""

    roles: frozenset[Role]
    default_for: frozenset[Role] = frozenset()
    can_be_first: bool = False
    """Terminates TLS and HTTP/2, matches routes, stamps, deletes forged headers."""
    switch: Switch = Switch.NONE
    switch_checks: frozenset[Literal["http", "tcp", "command"]] = frozenset()
    """Kinds of health it can check by itself as the switching tier."""
    logs_slots: bool = True
    """As the first tier it logs slot and cache of each answer; False: they are counted from the next tier's log."""
    makes_request_ids: bool = False
    """False for a first tier whose trace id becomes the request id at the next tier."""
    extra_places: frozenset[str] = frozenset()
    """Where in its configuration verbatim text of a service may stand."""
    in_flight_source: str = ""
    """For people: where the count comes from, or why there is none."""
    takes_part: Mapping[Literal["include", "runtime"], frozenset[str]] = field(default_factory=dict)
    """How it can be a part of a program that somebody else runs, and which keys of the tier say where that is."""
    takes_no_part: str = ""
    """For people: why it can't, where it can't."""
    reload_loses: str = ""
    """For people: which requests a reload may lose; empty: none."""


@dataclass(frozen=True)
class Theirs:
    """A program that somebody else runs, which a tier with `manage: include` or `runtime` is a part of."""

    manage: Literal["include", "runtime"]
    into: HostPath | None = None
    """The folder that their main file includes; one file of ours lies there."""
    main: HostPath | None = None
    """Their main file; read only."""
    pid: HostPath | None = None
    """Where their master's pid stands."""
    socket: HostPath | None = None
    """Their runtime socket."""


@dataclass(frozen=True)
class Listener:
    """An address and port that a tier accepts connections on."""

    address: str
    port: int
    tls: bool = False


@dataclass(frozen=True)
class Endpoint:
    """One place that a tier passes requests on to."""

    name: str
    host: str
    address: str
    port: int
    backup: bool = False
    """Only used while no other endpoint is up: the next tier on another host."""


@dataclass(frozen=True)
class SlotServer:
    """One slot of one instance, as its host's web tier listens for it; always present in the switching tier's files."""

    name: str
    """`<host>-<slot>`, e.g. `web-1-a`."""
    instance: str
    slot: Literal["a", "b"]
    host: str
    address: str
    port: int
    """The web tier's listener: the service's port + 10000. In a chain without an inner web tier, too."""
    service_port: int | None
    """The program's own port on the same address; None for static files only."""


@dataclass(frozen=True)
class RouteMatch:
    """Requests of these hosts and under this path are the service's."""

    hosts: tuple[str, ...]
    """Full names, without port, lower case."""
    path: str
    class_: Literal["page", "api", "upload", "callback", "websocket", "stream"] = "page"
    body_bytes: int | None = None


@dataclass(frozen=True)
class ServiceView:
    """A service, as tiers have to know it."""

    name: str
    routes: tuple[RouteMatch, ...]
    redirects: tuple[Redirect, ...]
    static: tuple[Static, ...]
    cache: Cache | None
    health: Health
    health_host: str
    """The Host header of health checks."""
    servers: tuple[SlotServer, ...]
    """Every slot of every instance, sorted by name."""
    has_program: bool = True
    keep_alive_seconds: float | None = None
    """The program's own idle limit; None: unknown, one connection a request."""
    response_seconds: float = 60.0
    """Longest silence of the service within one answer."""
    drain_seconds: float = 30.0
    stop_seconds: float = 30.0
    """How long its program may take to end after its stop signal."""
    probe_paths: tuple[str, ...] = ()
    """Always pass the cache: the health path and the declared probes, without query."""
    extra: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    """product → place → verbatim text."""

    @property
    def has_websockets(self) -> bool:
        """Tell whether a route of it is for WebSockets: these end when its program closes them, not when a request is done."""
        return any(route.class_ == "websocket" for route in self.routes)


@dataclass(frozen=True)
class TlsFiles:
    """Where the first tier finds its certificate; written before any tier is checked."""

    certificate: HostPath
    key: HostPath
    both: HostPath
    """Certificate, chain and key in one file."""


@dataclass(frozen=True)
class TierNode:
    """One tier on one host."""

    estate: str
    environment: str
    host: str
    address: str
    place: int
    """0 is the outermost."""
    role: Role
    product: str
    key: str
    """`<place>-<role>-<product>`: names its folders and its program."""
    is_first: bool
    is_switching: bool
    is_web: bool
    listeners: tuple[Listener, ...]
    """The slot listeners of a web tier are in `services`, not here. Plain inner listener, or the first tier's plain and TLS ones."""
    admin_address: str
    admin_port: int
    folders: TierFolders
    services: tuple[ServiceView, ...]
    """Sorted by name. For the web tier only those with an instance on this host."""
    next: tuple[Endpoint, ...]
    """Where a tier that neither switches nor is the last passes everything on; own host first, the others as backup."""
    accept_idle_seconds: float
    """Keep idle connections from the side before so long."""
    send_idle_seconds: float
    """Give up idle connections to the side after so early: at least 2 s before it would."""
    request_id: Literal["make", "from_trace", "take"]
    """make: new one here. from_trace: the first tier could not; its trace id becomes the request id here. take: pass on."""
    tls: TlsFiles | None = None
    has_cache: bool = False
    """A cache tier stands somewhere in the chain."""
    runs_as_root: bool = False
    theirs: Theirs | None = None
    """Whose program it is a part of; None: it is a program of its own, Manor's."""
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """Whose ownership decides about acts on this tier."""
        return f"tier/{self.key}"

    @property
    def has_files(self) -> bool:
        """Tell whether Manor writes files for it; not for a part that is only talked to."""
        return self.theirs is None or self.theirs.manage == "include"

    @property
    def mark(self) -> str:
        """What our names begin with where they stand beside other people's; empty in a program of our own."""
        return "" if self.theirs is None else f"manor.{self.environment}."

    @property
    def own_name(self) -> str:
        """The name, without ending, of our file beside other people's."""
        return f"manor-{self.estate}-{self.environment}"

    @property
    def log_name(self) -> str:
        """The name its access log gives to the tier."""
        return f"{self.environment}/{self.host}/{self.key}"
