"""A host with one made-up tier under a made-up supervisor, on a runner that only notes: what reconcile does is seen without any tool."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from manor.errors import Unreachable
from manor.estate.layout import HostLayout
from manor.estate.load import load_estate
from manor.estate.model import Estate
from manor.estate.topology import ServiceView, TierNode, TrafficState
from manor.estate.wiring import Addressing, HostPlace, Wiring
from manor.execution.guard import Guard
from manor.execution.recording import RecordingRunner
from manor.execution.values import Act, Command, Completed, Detached, Effect, FileAct, HostPath, MakeFolder, PutFile, SocketCommand, Touch
from manor.integrations.proxies.base import AccessRecord, Proxy, RenderedFile, ServerView, TierProgram
from manor.integrations.supervisors.base import Program, ProgramStatus, ProgramView, SupervisedHost, Supervisor, SupervisorFile
from manor.observe.hosts import observe_host
from manor.reconcile.desired import DesiredFile, DesiredHost, DesiredTier, Material, base_files, digest_of, service_programs
from manor.reconcile.plan import Observed, Plan, plan_environment
from manor.reconcile.site import Site
from manor.state.store import Store
from manor.workflows.applying import question_of
from tests.estate.products import PRODUCTS

ROOT = HostPath("/srv/manor/web-1")
ESTATE = """
estate: acme
services:
  echo:
    run: {command: "echo --bind {address}:{port}", port: 8300}
    health: {http: /healthz}
    routes: [{host: echo.acme.example}]
traffic: {chain: [{web: nginx}]}
environments:
  prod: {hosts: {web-1: {address: 10.0.0.1, groups: [web]}}}
"""


class ToyProxy(Proxy):
    """Renders one text; checks, reloads and answers over a socket."""

    name = "toy"
    traits = PRODUCTS["nginx"]
    options = BaseModel

    def __init__(self, text: str) -> None:
        self.text = text

    def render(self, node: TierNode) -> tuple[RenderedFile, ...]:
        return (RenderedFile("toy.conf", self.text.encode()),)

    def programs(self, node: TierNode) -> tuple[TierProgram, ...]:
        return (TierProgram(f"tier-{node.key}", ("toy",)),)

    def check(self, node: TierNode) -> Command:
        return Command(("toy", "check", str(node.folders.etc)))

    def parse_check(self, completed: Completed) -> tuple[str, ...]:
        return () if completed.code == 0 else (completed.text,)

    def reload(self, node: TierNode) -> tuple[Act, ...]:
        return (SocketCommand(node.folders.sockets / "toy.sock", "reload", Touch(node.subject, Effect.RUNTIME)),)

    def needs_restart(self, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> bool:
        return False

    def ready(self, node: TierNode) -> Act:
        return SocketCommand(node.folders.sockets / "toy.sock", "ready")

    def parse_ready(self, completed: Completed) -> str | None:
        return None if completed.text in ("", "ready") else completed.text

    def loaded(self, node: TierNode) -> Act:
        return SocketCommand(node.folders.sockets / "toy.sock", "loaded")

    def version(self) -> Command:
        return Command(("toy", "--version"))

    def parse_version(self, completed: Completed) -> str:
        return "1.0"

    def parse_access(self, line: str) -> AccessRecord | None:
        return None

    def switch_files(self, node: TierNode, service: ServiceView, traffic: Mapping[str, TrafficState]) -> tuple[FileAct, ...]:
        return (PutFile(node.folders.state / service.name, repr(sorted(traffic.items())).encode()),)

    def switch(self, node: TierNode, service: ServiceView, traffic: Mapping[str, TrafficState]) -> tuple[Act, ...]:
        told = " ".join(f"{name}={state.value}" for name, state in sorted(traffic.items()))
        return (SocketCommand(node.folders.sockets / "toy.sock", f"switch {told}"),)

    def observe_switch(self, node: TierNode, service: ServiceView) -> Act:
        return SocketCommand(node.folders.sockets / "toy.sock", "servers")

    def parse_switch(self, node: TierNode, service: ServiceView, completed: Completed) -> tuple[ServerView, ...]:
        if completed.text == "no answer yet":
            raise Unreachable("the toy is just starting")
        said = completed.text or "{}"
        known = json.loads(said) if said.startswith("{") else dict.fromkeys((server.name for server in service.servers), said)
        states = {server.name: TrafficState(known.get(server.name, "maint")) for server in service.servers}
        return tuple(ServerView(name, state, is_healthy=state is TrafficState.READY) for name, state in states.items())

    def maintenance(self, node: TierNode, service: ServiceView, on: bool) -> tuple[Act, ...]:
        return (PutFile(node.folders.state / "maintenance", b""),)

    def observe_maintenance(self, node: TierNode, service: ServiceView) -> Act:
        return SocketCommand(node.folders.sockets / "toy.sock", "page")

    def parse_maintenance(self, node: TierNode, service: ServiceView, completed: Completed) -> bool:
        return completed.text == "on"

    def rotate(self, node: TierNode) -> Literal["copytruncate"] | tuple[Act, ...]:
        return "copytruncate"


class ToySupervisor(Supervisor):
    """Knows what it was told; its socket answers a JSON of names and states."""

    name = "toyd"

    def render(self, host: SupervisedHost) -> tuple[SupervisorFile, ...]:
        return (SupervisorFile("toyd.conf", "\n".join(program.name for program in host.programs).encode()),)

    def folders(self, host: SupervisedHost) -> tuple[MakeFolder, ...]:
        return ()

    def check(self, host: SupervisedHost, etc: HostPath) -> Command:
        return Command(("toyd", "check", str(etc)))

    def parse_check(self, completed: Completed) -> tuple[str, ...]:
        return () if completed.code == 0 else (completed.text,)

    def _say(self, host: SupervisedHost, line: str) -> SocketCommand:
        return SocketCommand(host.layout.sockets / "toyd.sock", line)

    def start(self, host: SupervisedHost) -> Detached | Command:
        return Command(("toyd", str(host.layout.root)))

    def stop(self, host: SupervisedHost) -> tuple[Act, ...]:
        return (self._say(host, "shutdown"),)

    def pid(self, host: SupervisedHost) -> Act:
        return self._say(host, "pid")

    def parse_pid(self, completed: Completed) -> int:
        return 1

    def update(self, host: SupervisedHost, added: tuple[str, ...], changed: tuple[str, ...], removed: tuple[str, ...]) -> tuple[Act, ...]:
        return tuple(self._say(host, f"{word} {name}") for word, names in (("add", added), ("change", changed), ("remove", removed)) for name in names)

    def parse_done(self, act: Act, completed: Completed) -> str | None:
        return None

    def status(self, host: SupervisedHost) -> Act:
        return self._say(host, "status")

    def parse_status(self, completed: Completed) -> tuple[ProgramView, ...]:
        states = {name: ProgramStatus(state) for name, state in json.loads(completed.text or "{}").items()}
        return tuple(ProgramView(name, state, 1 if state is ProgramStatus.RUNNING else None) for name, state in sorted(states.items()))

    def start_program(self, host: SupervisedHost, name: str) -> Act:
        return self._say(host, f"start {name}")

    def stop_program(self, host: SupervisedHost, name: str, wait_seconds: float) -> Act:
        return self._say(host, f"stop {name}")

    def signal_program(self, host: SupervisedHost, name: str, signal: str) -> Act:
        return self._say(host, f"signal {name} {signal}")


@dataclass
class Toy:
    """One host as declared, as it is, and what was done to it."""

    wiring: Wiring
    store: Store
    text: str = "old"
    runner: RecordingRunner = field(init=False)
    supervisor: ToySupervisor = field(default_factory=ToySupervisor)
    traffic: dict[str, str] = field(default_factory=dict)
    """What the running tier was told of its servers."""

    def __post_init__(self) -> None:
        roots = (ROOT, ROOT / "s")
        self.runner = RecordingRunner("prod/web-1", Guard("prod/web-1", roots=roots))
        self.has_room()
        self.runner.reply("switch ", self._switch)
        self.runner.reply("servers", lambda _: Completed(0, json.dumps(self.traffic).encode()))

    def has_room(self, disk_bytes: int = 2**34, files: int = 10**6, memory_bytes: int = 2**33, stat: str = "") -> None:
        """Have the host say how much room it has; `stat` are lines of its processes."""
        said = f"disk {disk_bytes // 4096} 4096 2000000 {files}\npage 4096\nMemAvailable: {memory_bytes // 1024} kB\n{stat}"
        self.runner.reply("stat -f", Completed(0, said.encode()))

    def _switch(self, act: Act) -> Completed:
        assert isinstance(act, SocketCommand)
        self.traffic |= dict(word.split("=") for word in act.line.split()[1:])
        return Completed(0)

    @property
    def host(self) -> DesiredHost:
        """What is to be."""
        layout = self.wiring.addressing.hosts["web-1"].layout
        node = next(node for node in self.wiring.nodes() if node.host == "web-1")
        base = base_files(layout, Material(b"#!/bin/sh\n", {}), "web-1")
        proxy = ToyProxy(self.text)
        files = tuple(DesiredFile(node.folders.etc / file.name, file.content, file.mode, node.subject) for file in proxy.render(node))
        tier = DesiredTier(node, proxy, files, digest_of([*files]))
        own = tuple(replace_program(program.name, layout, node) for program in proxy.programs(node))
        programs = (*service_programs("web-1", self.wiring, layout), *own)
        supervised = SupervisedHost("prod", "web-1", layout, tuple(sorted(programs, key=lambda program: program.name)))
        rendered = tuple(DesiredFile(layout.supervisor / file.name, file.content, file.mode) for file in self.supervisor.render(supervised))
        return DesiredHost("web-1", layout, base, (tier,), supervised, self.supervisor, rendered)

    @property
    def key(self) -> str:
        """The tier's key."""
        return self.host.tiers[0].node.key

    @property
    def site(self) -> Site:
        """What steps act on."""
        return Site(self.wiring, {"web-1": self.host}, {"web-1": self.runner}, self.store, "state-1", "prod")

    @property
    def config(self) -> bytes:
        """What lies in the tier's file."""
        path = self.host.tiers[0].files[0].path
        return dict(self.runner.files.read([path])).get(path, b"")

    @property
    def loaded(self) -> str:
        """What the tier is noted to have taken over."""
        path = self.host.layout.loaded(self.key)
        return dict(self.runner.files.read([path])).get(path, b"").decode().strip()

    def runs(self, *extra: str) -> None:
        """Have the supervisor say that tiers run and slots are stopped."""
        states = {program.name: "stopped" if program.wanted else "running" for program in self.host.supervised.programs}
        self.runner.reply("status", Completed(0, json.dumps(states | dict.fromkeys(extra, "running")).encode()))

    async def observed(self, **changes: Any) -> Observed:
        """Look at the host."""
        return Observed({"web-1": await observe_host(question_of(self.host), self.runner, "web-1")}, **changes)

    async def plan(self, digest: str = "d1", **changes: Any) -> Plan:
        """Plan against what is there."""
        return plan_environment("prod", digest, [self.host], await self.observed(**changes))


def replace_program(name: str, layout: HostLayout, node: TierNode, argv: str = "toy") -> Program:
    """Return a tier's program."""
    return Program(name, (argv,), node.subject, layout.program_log(name))


def wiring_of(folder: Path, text: str = ESTATE) -> Wiring:
    """Return the wiring of an estate with one host."""
    file = folder / "estate.yaml"
    file.write_text(text)
    estate: Estate = load_estate(file, PRODUCTS)
    environment = estate.environments["prod"]
    place = HostPlace("10.0.0.1", HostLayout(ROOT, ROOT / "s"))
    return Wiring(estate, environment, Addressing({"web-1": place}, None, runs_as_root=False), PRODUCTS, {})
