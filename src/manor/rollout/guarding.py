"""Guards on a balancer's host: they return servers to traffic when nobody renews the marks (docs/rollout.md, marks with guards).

Invariant: what a guard may do is written down in full before the mark is set; it works nothing out and needs no controller.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files as resources

from manor.errors import ManorError
from manor.estate.topology import ServiceView, SlotServer, TierNode, TrafficState
from manor.execution.base import Runner
from manor.execution.values import Act, Command, Detached, HostPath, MakeFolder, PutFile, PutLink, Remove, SocketCommand
from manor.integrations.proxies.base import Proxy
from manor.operations.step import Here
from manor.reconcile.returns import MARK, SUFFIX, Mark, program_in, read_marks, read_record, returned_traffic, traffic_after
from manor.reconcile.site import Site, with_parents

LONGEST_SECONDS = 7 * 86400.0
RENEWALS = 4
"""A mark is renewed so many times within its expiry."""


@dataclass(frozen=True)
class Guarding:
    """The marks of one service on one switching tier, and their guards."""

    site: Site
    node: TierNode
    view: ServiceView
    expiry_seconds: float

    @property
    def at(self) -> tuple[str, str]:
        """Host and key of the tier."""
        return self.node.host, self.node.key

    @property
    def _runner(self) -> Runner:
        return self.site.runners[self.node.host]

    @property
    def _proxy(self) -> Proxy:
        return self.site.tier(self.node.host, self.node.key).proxy

    @cached_property
    def _folder(self) -> HostPath:
        return self.site.hosts[self.node.host].layout.guard(self.view.name)

    async def put(self, mark: Mark, traffic: Mapping[str, TrafficState], here: Here) -> str:
        """Mark a server and have a guard watch; return why there is none, or nothing."""
        name = f"{mark.server}.{here.operation}.{here.seq}{SUFFIX}"
        marks = {**await read_marks(self._runner, self._folder), name: mark}
        try:
            ways = self._ways(marks, traffic)
            script = PutFile(self._folder / "guard.py", (resources("manor.execution") / "mark_guard.py").read_bytes())
            await self._runner.change(with_parents([script, PutFile(self._folder / "ways.json", ways), self._file(name, mark)]))
            await self._start(name, f"{here.operation}-guard-{mark.server}-{here.seq}")
        except ManorError as error:
            return f"no guard on {self.node.host}: {error}"
        return ""

    def _file(self, name: str, mark: Mark) -> PutFile:
        return PutFile(self._folder / "marks" / name, MARK.dump_json(mark))

    async def _start(self, name: str, key: str) -> None:
        programs = self._folder / "programs"
        for old in await self._runner.listing(programs):
            state = await self._runner.attach(program_in(programs / old))
            if state.code is not None or state.lost:
                await self._runner.change([Remove(programs / old)])
        command = Command(("python3", "-I", "-S", str(self._folder / "guard.py"), str(self._folder), name, f"{self.expiry_seconds:g}"))
        await self._runner.start(Detached(key, programs / key, command, LONGEST_SECONDS))

    def _ways(self, marks: Mapping[str, Mark], traffic: Mapping[str, TrafficState]) -> bytes:
        """Return what the guards need. Raises ManorError for what a guard can't do, NotOurs for what it may not."""
        marked = sorted({mark.server for mark in marks.values()})
        choices = [marked, *([server] for server in marked if len(marked) > 1)]
        ways = []
        for servers in choices:
            acts = self._acts(traffic, traffic_after([mark for mark in marks.values() if mark.server in servers], self._proxy))
            for act in acts:
                self._runner.guard.check(act)
            ways.append({"servers": servers, "acts": [as_data(act) for act in acts]})
        checks = {server.name: check_data(self.view, server) for server in self.view.servers}
        return json.dumps({"checks": checks, "ways": ways}, indent=1).encode()

    def _acts(self, traffic: Mapping[str, TrafficState], returned: Mapping[str, TrafficState]) -> Sequence[Act]:
        """Return the acts that return servers and say nothing of others, also after a restart, and end the maintenance page."""
        node, view, proxy = self.node, self.view, self._proxy
        whole = {server.name: returned.get(server.name, traffic[server.name]) for server in view.servers}
        return [*with_parents(proxy.switch_files(node, view, whole)), *proxy.switch(node, view, returned), *proxy.maintenance(node, view, False)]

    async def returned(self) -> Mapping[str, TrafficState]:
        """Return the servers whose traffic a guard changed and nobody has learnt of since."""
        return await returned_traffic(self._runner, self._folder, self._proxy)

    async def has_returned(self, server: str, operation: str) -> bool:
        """Tell whether a guard returned a server at any time in an operation."""
        return any(name.startswith(f"{server}.{operation}.") for name in await read_record(self._runner, self._folder))

    async def refresh(self, traffic: Mapping[str, TrafficState], here: Here, now: float) -> bool:
        """Adapt what guards may do to other traffic, renew our marks and end those of operations before; tell whether we have marks."""
        marks = await read_marks(self._runner, self._folder)
        ours = {name: replace(mark, renewed=now) for name, mark in marks.items() if mark.operation == here.operation}
        await self._runner.change([Remove(self._folder / "marks" / name) for name in marks if name not in ours])
        if ours:
            ways = PutFile(self._folder / "ways.json", self._ways(ours, traffic))
            await self._runner.change([ways, *(self._file(name, mark) for name, mark in ours.items())])
        return bool(ours)

    async def renew(self, operation: str, now: float) -> None:
        """Renew the marks of an operation."""
        marks = await read_marks(self._runner, self._folder)
        await self._runner.change([self._file(name, replace(mark, renewed=now)) for name, mark in marks.items() if mark.operation == operation])

    async def drop(self, server: str) -> None:
        """Take a server's marks away: their guards end."""
        marks = await read_marks(self._runner, self._folder)
        await self._runner.change([Remove(self._folder / "marks" / name) for name, mark in marks.items() if mark.server == server])


def as_data(act: Act) -> Mapping[str, object]:
    """Return an act as a guard reads it. Raises ManorError for a kind that guards can't carry out."""
    match act:
        case PutFile():
            return {"do": "put", "path": str(act.path), "content": base64.b64encode(act.content).decode(), "mode": act.mode}
        case PutLink():
            return {"do": "link", "path": str(act.path), "target": str(act.target)}
        case MakeFolder():
            return {"do": "folder", "path": str(act.path), "mode": act.mode}
        case Remove():
            return {"do": "remove", "path": str(act.path)}
        case SocketCommand():
            return {"do": "say", "socket": str(act.socket), "line": act.line, "timeout": act.timeout_seconds}
        case _:
            raise ManorError(f"it can't carry out a {type(act).__name__}")


def check_data(view: ServiceView, server: SlotServer) -> Mapping[str, object]:
    """Return a server's health check as a guard makes it. Raises ManorError for a health command, which only the server's own host can run."""
    health = view.health
    if health.command is not None:
        raise ManorError("it can't run the service's health command")
    if health.http is None:
        return {"address": server.address, "port": server.service_port or server.port, "timeout": health.timeout}
    headers = {"Host": view.health_host, "X-Manor-Service": view.name, "Connection": "close"}
    return {"address": server.address, "port": server.port, "path": health.http, "headers": headers, "status": health.status, "timeout": health.timeout}
