"""An environment of many made-up hosts with two tiers, on runners that only note: in which order an apply goes through them is seen without any tool."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from manor.errors import Unreachable
from manor.estate.layout import HostLayout
from manor.estate.load import load_estate
from manor.estate.wiring import Addressing, HostPlace, Wiring
from manor.execution.guard import Guard
from manor.execution.recording import RecordingRunner
from manor.execution.values import Completed, HostPath
from manor.integrations.supervisors.base import SupervisedHost
from manor.observe.hosts import ObservedHost, observe_host
from manor.operations.chaos import Chaos, no_chaos
from manor.operations.engine import execute
from manor.operations.planning import Result, create
from manor.operations.step import Planned, StepKinds
from manor.reconcile.apply import LiveTiers, apply_steps, restarting_tiers
from manor.reconcile.desired import DesiredFile, DesiredHost, DesiredTier, Material, base_files, digest_of, service_programs
from manor.reconcile.plan import Observed, Plan, plan_environment
from manor.reconcile.site import Site
from manor.reconcile.steps import KINDS
from manor.state.operations import NewOperation
from manor.state.store import Store
from manor.workflows.applying import confirming_changes, differing_texts, question_of
from tests.estate.products import PRODUCTS
from tests.operations.model import take
from tests.reconcile.toys import ToyProxy, ToySupervisor, replace_program

STEPS = StepKinds[Site](KINDS)
EDGE, WEB = "0-balancer-haproxy", "1-web-nginx"
ESTATE = """
estate: acme
services:
  echo:
    run: {{command: "echo --bind {{address}}:{{port}}", port: 8300}}
    health: {{http: /healthz}}
    routes: [{{host: echo.acme.example}}]
traffic: {{chain: [{{balancer: haproxy}}, {{web: nginx}}]}}
environments:
  prod: {{hosts: {{{hosts}}}}}
"""
PIDS = itertools.count(1)


class StubbornProxy(ToyProxy):
    """Can be told that a reload is not enough, as Traefik's static file is not taken over by one."""

    def __init__(self, text: str, *, restarts: bool = False) -> None:
        super().__init__(text)
        self.restarts = restarts

    def needs_restart(self, before: Mapping[str, bytes], after: Mapping[str, bytes]) -> bool:
        return self.restarts and before != after


def wiring_of(folder: Path, edges: int, webs: int) -> Wiring:
    """Return the wiring of an environment with so many hosts of each tier."""
    groups = {**{f"edge-{n}": "edge" for n in range(1, edges + 1)}, **{f"web-{n:02d}": "web" for n in range(1, webs + 1)}}
    addresses = {name: f"10.0.{n // 200}.{n % 200 + 1}" for n, name in enumerate(groups)}
    hosts = ", ".join(f"{name}: {{address: {addresses[name]}, groups: [{group}]}}" for name, group in groups.items())
    file = folder / "estate.yaml"
    file.write_text(ESTATE.format(hosts=hosts))
    estate = load_estate(file, PRODUCTS)
    roots = {name: HostPath("/srv/manor") / name for name in groups}
    places = {name: HostPlace(addresses[name], HostLayout(root, root / "s")) for name, root in roots.items()}
    return Wiring(estate, estate.environments["prod"], Addressing(places), PRODUCTS, {})


@dataclass
class ManyToys:
    """Many hosts as declared, as they are, and what was done to them."""

    wiring: Wiring
    store: Store
    texts: dict[str, str] = field(default_factory=lambda: {EDGE: "old", WEB: "old"})
    restarts: set[str] = field(default_factory=set)
    """Keys of tiers for whose new files a reload is not enough."""
    argv: str = "toy"
    """How the web tiers' programs are called."""
    runners: dict[str, RecordingRunner] = field(init=False)
    _made: dict[tuple[str, ...], DesiredHost] = field(default_factory=dict)
    """Hosts as declared, made once for each declaration."""

    def __post_init__(self) -> None:
        """Have every tier run, and nothing else."""
        self._nodes = self.wiring.nodes()
        self.runners = {name: self._runner(name) for name in self.wiring.addressing.hosts}

    def _runner(self, name: str) -> RecordingRunner:
        root = self.wiring.addressing.hosts[name].layout.root
        runner = RecordingRunner(f"prod/{name}", Guard(f"prod/{name}", roots=(root,)))
        states = {program.name: "stopped" if program.wanted else "running" for program in self.host(name).supervised.programs}
        runner.reply("status", Completed(0, json.dumps(states).encode()))
        runner.reply("servers", Completed(0, b"{}"))
        return runner

    def host(self, name: str) -> DesiredHost:
        """Return what is to be on a host."""
        declared = (name, *self.texts.values(), *self.restarts, self.argv)
        if declared not in self._made:
            self._made[declared] = self._host(name)
        return self._made[declared]

    def _host(self, name: str) -> DesiredHost:
        layout = self.wiring.addressing.hosts[name].layout
        tiers = []
        for node in (node for node in self._nodes if node.host == name):
            proxy = StubbornProxy(self.texts[node.key], restarts=node.key in self.restarts)
            files = tuple(DesiredFile(node.folders.etc / file.name, file.content, file.mode, node.subject) for file in proxy.render(node))
            tiers.append(DesiredTier(node, proxy, files, digest_of([*files])))
        own = [replace_program(program.name, layout, tier.node, self.argv) for tier in tiers for program in tier.programs]
        programs = sorted((*service_programs(name, self.wiring, layout), *own), key=lambda program: program.name)
        supervised = SupervisedHost("prod", name, layout, tuple(programs))
        rendered = tuple(DesiredFile(layout.supervisor / file.name, file.content, file.mode) for file in ToySupervisor().render(supervised))
        return DesiredHost(name, layout, base_files(layout, Material(b"#!/bin/sh\n", {}), name), tuple(tiers), supervised, ToySupervisor(), rendered)

    @property
    def site(self) -> Site:
        """What steps act on."""
        return Site(self.wiring, {name: self.host(name) for name in self.runners}, self.runners, self.store, "state-1", "prod")

    async def observed(self) -> Observed:
        """Look at all hosts."""
        hosts: dict[str, ObservedHost] = {}
        for name, runner in self.runners.items():
            hosts[name] = await observe_host(question_of(self.host(name)), runner, name)
        return Observed(hosts, await differing_texts(self.site, hosts))

    async def plan(self) -> Plan:
        """Plan against what is there."""
        return plan_environment("prod", "d1", self.site.hosts.values(), await self.observed())

    async def steps(self, *, running: bool = True) -> list[Planned[Site]]:
        """Plan the steps."""
        hosts, observed = self.site.hosts, await self.observed()
        every = frozenset((host.name, tier.node.key) for host in hosts.values() for tier in host.tiers)
        tiers = LiveTiers(every if running else frozenset(), restarting_tiers(hosts.values(), observed))
        return apply_steps(plan_environment("prod", "d1", hosts.values(), observed), hosts, tiers)

    async def begin(self) -> str:
        """Plan, and write the operation down."""
        return (await create(self.store, NewOperation("apply", "prod"), await self.steps(), STEPS)).id

    async def go_on(self, operation: str, chaos: Chaos = no_chaos) -> Result:
        """Carry an operation out, or go on with it, as another process."""
        lease = take(self.store, "prod", operation, next(PIDS))
        return await execute(self.store, operation, self.site, STEPS, lease, on_failure=confirming_changes(self.store), chaos=chaos)

    async def apply(self) -> Result:
        """Plan and carry out."""
        return await self.go_on(await self.begin())

    def text(self, name: str) -> str:
        """Return what lies in the file of a host's first tier."""
        path = self.host(name).tiers[0].files[0].path
        return self.runners[name].files.read([path]).get(path, b"").decode()

    def works_by_new(self, name: str) -> bool:
        """Tell whether a host's tier was seen to work by what is declared now."""
        tier, layout = self.host(name).tiers[0], self.host(name).layout
        path = layout.loaded(tier.node.key)
        return self.runners[name].files.read([path]).get(path, b"").decode().strip() == tier.digest

    def refuse(self, name: str) -> None:
        """Have a host's tier go on by its old files, whatever it is told."""
        self.runners[name].reply("loaded", Completed(0, b"still works by the old files"))

    def lose(self, name: str) -> None:
        """Have a host's tier answer nothing any more."""
        self.runners[name].reply("ready", Unreachable(f"prod/{name}: no answer"))
