"""The estate as a person writes it, after overlays: frozen, typed, in base units.

Every field's description is its documentation: the reference and the JSON Schema are made from it.

Invariant: nothing here reads a file or knows a product's name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict

from manor.estate.units import (
    AbsolutePath,
    Address,
    Container,
    Cookie,
    Date,
    Duration,
    EnvValue,
    HostName,
    HttpPath,
    Line,
    MovedFrom,
    MovedTo,
    Name,
    Share,
    Size,
    Unit,
    UrlPath,
    User,
    Variable,
    WholePath,
    within,
)


class Part(BaseModel):
    """A part of the declaration: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)


ManageWord = Literal["full", "include", "runtime", "observe", "never"]
Whole = Annotated[int, Strict()]
Port = Annotated[int, Strict(), Field(ge=1, le=65535)]


class Stop(Part):
    """How a program is asked to end."""

    signal: Literal["TERM", "INT", "QUIT", "HUP", "USR1", "USR2"] = Field("TERM", description="the signal that asks it to finish its work and end")
    timeout: Annotated[Duration, within("0s", "1d")] | None = Field(
        None, description="how long it may take before it is killed; default 30s, with a route of class `websocket` 60s"
    )


class Limits(Part):
    """What a program may use at the most."""

    memory: Annotated[Size, within("1MiB", "65536GiB")] | None = Field(None, description="address space per process, e.g. 512MiB")
    files: Whole | None = Field(None, ge=16, le=1_000_000_000, description="open files per process")


class Run(Part):
    """How the service's program runs; absent for a service of static files only."""

    command: Line = Field(description="the command line, split as a POSIX shell splits words but run without a shell; `{address}` and `{port}` must occur")
    port: Whole = Field(ge=1024, le=55533, description="slot a; slot b is the next port; the web tier listens on both + 10000")
    env: dict[Variable, EnvValue] = Field(default_factory=dict, description="environment variables")
    stop: Stop = Field(default_factory=Stop, description="how it is asked to end")
    limits: Limits = Field(default_factory=Limits, description="what it may use at the most")
    keep_alive: Annotated[Duration, within("0s", "1d")] | None = Field(
        None, description="its own idle limit for kept connections; unset is unknown, and then every request has a connection of its own"
    )


class Place(Part):
    """Where instances stand."""

    on: Name | None = Field(None, description="a group of hosts; default `web`, else the first group")
    per_host: Literal[1] = Field(1, description="instances a host; more than one is not supported yet")


class Health(Part):
    """How it is known that an instance works: one of http, tcp, command."""

    http: HttpPath | None = Field(None, description="GET of this path must answer `status`")
    tcp: bool | None = Field(None, description="true: the port must accept connections")
    command: Line | None = Field(
        None, description="a command that must end with 0, run in the slot's folder on the host; `{address}` and `{port}` are replaced"
    )
    status: Whole = Field(200, ge=100, le=599, description="the status that an http check expects")
    interval: Annotated[Duration, within("100ms", "1h")] = Field(2.0, description="time between two checks")
    timeout: Annotated[Duration, within("100ms", "1h")] = Field(2.0, description="a check that takes longer has failed")
    passes: Whole = Field(3, ge=1, le=20, description="so many passes in a row make an instance healthy")
    fails: Whole = Field(2, ge=1, le=20, description="so many failures in a row make it unhealthy")


class Route(Part):
    """Which requests are the service's."""

    host: HostName = Field(description="a name without a dot is completed with the domain (and the environment, but for the last one)")
    path: UrlPath = Field("/", description="requests whose path is this or lies under it; the longest match wins")
    class_: Literal["page", "api", "upload", "callback", "websocket", "stream"] = Field(
        "page", alias="class", description="sets limits, time-outs and drain times"
    )
    body: Annotated[Size, within("1B", "1024GiB")] | None = Field(None, description="the largest request body")


class Static(Part):
    """A folder of the release served by the web tier itself."""

    path: UrlPath = Field(description="requests under this path")
    dir: WholePath = Field(description="folder inside the release, relative")


class Shared(Part):
    """A folder that survives releases and is linked into each."""

    store: Literal["local"] = Field("local", description="where it is kept: on the host itself")


class Redirect(Part):
    """A permanent or temporary move, answered by the outermost tier."""

    from_: MovedFrom = Field(alias="from", description="host and path, e.g. old.acme.example/shop")
    to: MovedTo = Field(description="full URL, or a path on the same host")
    status: Literal[301, 302, 303, 307, 308] = Field(308, description="the status of the answer")


class Bypass(Part):
    """What the cache tier must not look at."""

    paths: tuple[UrlPath, ...] = Field((), description="requests under these paths")
    cookies: tuple[Cookie, ...] | None = Field(
        None, description="requests with one of these cookies; left out: requests with any cookie. All others are harmless then: [] says that no cookie matters"
    )


class Cache(Part):
    """How the cache tier keeps the service's answers; absent: nothing is kept."""

    ttl: Duration = Field(description="how long an answer without Cache-Control of its own is fresh")
    grace: Duration = Field(0.0, description="how long a stale one may be served while a new one is fetched")
    bypass: Bypass = Field(default_factory=Bypass, description="what is never cached")


class RolloutRules(Part):
    """How a new release replaces the running one."""

    strategy: Literal["rolling", "in_turn", "interrupt"] = Field(
        "rolling", description="rolling: two slots, nothing lost · in_turn: one slot, host by host · interrupt: a singleton behind a maintenance page"
    )
    min_healthy: Share = Field(0.75, description="share of instances that must be healthy at any moment")
    min_healthy_time: Annotated[Duration, within("0s", "1d")] = Field(
        10.0, description="how long a new instance must stay healthy without a restart before it counts"
    )
    bake: Annotated[Duration, within("0s", "30d")] | None = Field(
        None, description="how long the finished rollout is watched before it is certified; default 10m, 0 on local hosts"
    )
    instance_deadline: Annotated[Duration, within("1s", "1d")] = Field(300.0, description="an instance that takes longer fails the rollout")
    progress_deadline: Annotated[Duration, within("1s", "1d")] = Field(
        600.0, description="extended by each instance that becomes healthy; past it the rollout fails"
    )
    drain_timeout: Annotated[Duration, within("0s", "1d")] | None = Field(
        None, description="how long old work may take to finish; default by route class (30s, upload 10m, websocket 60s)"
    )
    drain_policy: Literal["extend", "cut", "abort"] = Field("extend", description="what happens when old work is not finished in time")
    settle: Annotated[Duration, within("0s", "1h")] = Field(1.0, description="pause between the last finished request and the stop of the old instance")
    longest_outage: Annotated[Duration, within("0s", "1d")] | None = Field(None, description="interrupt only: how long the service may be away")

    def least_healthy(self, count: int) -> int:
        """Return how many of so many instances must be healthy at any moment."""
        return math.ceil(count * self.min_healthy)


class Probe(Part):
    """One request of the outside probe that accompanies a rollout."""

    method: Literal["GET", "HEAD", "POST"] = Field("GET", description="GET unless the service declares a harmless POST")
    path: HttpPath = Field(description="path, with query if need be")
    rate: float = Field(20.0, gt=0, le=5000, description="requests a second, open loop, half of them on new connections")
    body: str | None = Field(None, description="body of a POST")
    status: Whole | None = Field(
        None, ge=100, le=599, description="the only status that is not a loss; default: below 400, and what it answered before anything was touched"
    )


class Service(Part):
    """Something that is delivered and answers requests."""

    profile: Literal["generic", "static"] = Field("generic", description="defaults for all that follows")
    repository: Name | None = Field(None, description="a repository hosted here; without one artifacts are handed in")
    run: Run | None = Field(None, description="how its program runs")
    port: Whole | None = Field(
        None, ge=1024, le=55533, description="static only, instead of `run.port`: the web tier listens on this + 10000 (slot a) and + 10001 (slot b)"
    )
    place: Place = Field(default_factory=Place, description="where instances stand")
    health: Health = Field(description="how it is known that an instance works")
    routes: tuple[Route, ...] = Field((), description="which requests are its own")
    static: tuple[Static, ...] = Field((), description="folders served by the web tier itself")
    shared: dict[WholePath, Shared] = Field(
        default_factory=dict, description="folders that survive releases, by path inside the release; what an artifact has there makes room for them"
    )
    redirects: tuple[Redirect, ...] = Field((), description="moves answered by the outermost tier")
    cache: Cache | None = Field(None, description="how the cache tier keeps its answers")
    rollout: RolloutRules = Field(default_factory=RolloutRules, description="how a new release replaces the running one")
    probe: tuple[Probe, ...] = Field((), description="what the outside probe asks; default GET of the health path")
    extra: dict[Name, dict[Name, WholePath]] = Field(
        default_factory=dict, description="product → place in its configuration → file inside the estate's folder, verbatim"
    )
    owner: Line | None = Field(None, description="whom to ask")
    manage: ManageWord = Field("full", description="how far Manor may go")


class TierRule(Part):
    """One tier of the chain, outermost first. Written `{<role>: <product>}`, with further keys as needed.

    With `manage: include` or `runtime` the tier is a part of a program that somebody else runs; into, main, pid and socket say where that is.
    """

    role: Literal["router", "cache", "balancer", "web"] = Field(description="what it is for")
    product: str = Field(description="which tool does it")
    on: Name | None = Field(None, description="a group of hosts; default: web on `web`, others on `edge`, else the first group")
    manage: ManageWord = Field("full", description="how far Manor may go")
    into: AbsolutePath | None = Field(None, description="include: the folder that your main file includes; Manor writes one file of its own there")
    main: AbsolutePath | None = Field(None, description="include: your main file; it is read, and checked together with Manor's, never written")
    pid: AbsolutePath | None = Field(None, description="include: the file with the pid of your running master, which is told to reload by a signal")
    socket: AbsolutePath | None = Field(None, description="include, runtime: the runtime socket of your balancer, with level admin")
    options: dict[str, object] = Field(default_factory=dict, description="the product's own options, see its page")


class Tls(Part):
    """Where certificates come from."""

    issuer: Literal["local"] = Field("local", description="local: an authority of this state folder")


class Traffic(Part):
    """How requests flow."""

    chain: tuple[TierRule, ...] = Field(description="outermost tier first")
    tls: Tls = Field(default_factory=Tls, description="where certificates come from")


class UntouchableRule(Part):
    """What on a host is somebody else's; enforced in the runner."""

    paths: tuple[AbsolutePath, ...] = Field((), description="absolute paths, with all under them")
    ports: tuple[Port, ...] = Field((), description="ports")
    units: tuple[Unit, ...] = Field((), description="units of the init system and supervised programs")
    users: tuple[User, ...] = Field((), description="users")
    containers: tuple[Container, ...] = Field((), description="containers")


class Host(Part):
    """A machine, or without an address a local host."""

    name: Name
    address: Address | None = Field(None, description="IPv4 address; without one a local host on this machine")
    groups: tuple[Name, ...] = Field((), description="which groups it is in")
    manage: ManageWord = Field("full", description="how far Manor may go")
    untouchable: UntouchableRule = Field(default_factory=UntouchableRule, description="what is somebody else's")
    shared: bool = Field(False, description="two non-production environments may share it")

    @property
    def is_local(self) -> bool:
        """Tell whether it is on this machine: without an address, or with a loopback one."""
        return self.address is None or ip_address(self.address).is_loopback


class Environment(Part):
    """One variant of the estate, with every overlay merged."""

    name: Name
    after: Name | None = Field(None, description="the environment that a release must have passed first")
    promote: Literal["automatic", "by_hand"] = Field("automatic", description="whether a release certified before goes on by itself")
    gates: tuple[Literal["tests"], ...] = Field((), description="what must hold before a release may enter")
    hosts: dict[str, Host] = Field(description="its hosts, by name")
    services: dict[str, Service] = Field(description="its services, by name")
    traffic: Traffic = Field(description="its chain")
    differences: dict[str, str] = Field(default_factory=dict, description="what differs from the other environments, and why")
    is_last: bool = Field(False, description="no other environment comes after it")

    @cached_property
    def hosts_by_group(self) -> Mapping[str, tuple[Host, ...]]:
        """Return each group's hosts, groups in the order of their first host."""
        found: dict[str, list[Host]] = {}
        for host in self.hosts.values():
            for group in host.groups:
                found.setdefault(group, []).append(host)
        return {group: tuple(hosts) for group, hosts in found.items()}

    @cached_property
    def services_by_group(self) -> Mapping[str, tuple[str, ...]]:
        """Return the names of the services on each group, sorted."""
        default = self.group_or_default(None, "web")
        found: dict[str, list[str]] = {}
        for name, service in self.services.items():
            found.setdefault(service.place.on or default, []).append(name)
        return {group: tuple(sorted(names)) for group, names in found.items()}

    def group_or_default(self, wanted: str | None, default: str) -> str:
        """Return the wanted group, else the default where the environment has it, else its first."""
        groups = self.hosts_by_group
        return wanted or (default if default in groups or not groups else next(iter(groups)))


class Estate(Part):
    """All that is declared."""

    name: Name
    domain: str = Field("localhost.example", description="completes names of routes without a dot")
    environments: dict[str, Environment] = Field(description="in order of promotion")
    removed: dict[str, Date] = Field(default_factory=dict, description="services and hosts that may vanish, and since when")
    files: dict[str, str] = Field(default_factory=dict, description="sha256 of each file that `extra` names, so that the digest covers what they hold")
    digest: str = Field("", description="sha256 over the canonical JSON of all the above")
