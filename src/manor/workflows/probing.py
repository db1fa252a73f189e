"""Runs the outside probe of a rollout as a detached process of the controller."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from manor.errors import NotOurs, TimedOut
from manor.estate.model import Probe, Service
from manor.estate.topology import Listener, ServiceView
from manor.estate.wiring import Wiring
from manor.execution.base import Runner
from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.execution.values import Command, Detached, Effect, HostPath, MakeFolder, PutFile, Touch
from manor.observe.edge import LogMark, mark_log
from manor.observe.probe.model import Loss, ProbeConfig, Target
from manor.observe.probe.process import argv
from manor.observe.probe.results import Recording, read_results
from manor.observe.probe.summary import ProbeResult, measured_outage, summarize
from manor.observe.window import Window
from manor.reconcile.desired import DesiredTier
from manor.rollout.fleet import ProbeSummary
from manor.workflows.context import Context

MARKS: TypeAdapter[dict[str, LogMark]] = TypeAdapter(dict[str, LogMark])
LONGEST_SECONDS = 3600.0 * 4
WAIT_SECONDS = 30.0
SHOWN_LOSSES = 5


@dataclass(frozen=True)
class LocalProber:
    """The probe of one service's rollouts in one environment, from this machine against the front door."""

    context: Context
    environment: str
    service: str

    def folder(self, operation: str) -> Path:
        """Return where a probe keeps what it sees."""
        return self.context.folder / "probes" / operation

    def _runner(self) -> LocalRunner:
        return LocalRunner("controller", Guard("controller"))

    def _step(self, operation: str) -> Detached:
        folder = self.folder(operation)
        command = Command(argv(str(folder / "config.json")), Touch(effect=Effect.RUNTIME), timeout_seconds=LONGEST_SECONDS)
        return Detached(f"{operation}-probe", HostPath(folder / "process"), command, timeout_seconds=LONGEST_SECONDS)

    async def start(self, operation: str) -> None:
        """Have the probe run; one that runs already goes on. A service without a way in is not probed."""
        config = self.config(operation)
        if config is None:
            return
        folder = HostPath(self.folder(operation))
        runner = self._runner()
        await runner.change([MakeFolder(folder, 0o700), PutFile(folder / "config.json", config.model_dump_json(indent=1).encode())])
        await self._mark(operation)
        await runner.start(self._step(operation))

    async def _mark(self, operation: str) -> None:
        """Remember once how the outer tiers' logs stand, so that the receipt can tell what was cut off meanwhile."""
        path = self.folder(operation) / "marks.json"
        if path.exists():
            return
        site = self.context.site(self.environment, self.service)
        outer = [(host, tier) for host in site.hosts.values() for tier in host.tiers if tier.node.place <= 1]
        found = {f"{host.name}/{tier.node.key}": await mark_of(site.runners[host.name], tier) for host, tier in outer}
        marks = {name: mark for name, mark in found.items() if mark is not None}
        await self._runner().change([PutFile(HostPath(path), MARKS.dump_json(marks))])

    def marks(self, operation: str) -> dict[str, LogMark]:
        """Return how the outer two tiers' logs stood at the beginning, by `<host>/<tier>`."""
        path = self.folder(operation) / "marks.json"
        return MARKS.validate_json(path.read_bytes()) if path.exists() else {}

    async def stop(self, operation: str) -> ProbeSummary:
        """End it and return what it saw."""
        folder = self.folder(operation)
        if not (folder / "config.json").exists():
            return ProbeSummary(0, 0)
        runner = self._runner()
        await runner.change([PutFile(HostPath(folder / "stop"), b"")])
        await self._wait(operation)
        if not (folder / "results.jsonl").exists():
            return ProbeSummary(0, 0, is_whole=False)
        result, recording = self.result(operation), self.recording(operation)
        outage = measured_outage(recording.outcomes, Window(0.0, math.inf))
        losses = tuple(loss_line(loss) for loss in result.losses[:SHOWN_LOSSES])
        return ProbeSummary(result.sent, result.lost, losses, recording.ended, outage.seconds if outage else 0.0)

    async def end(self, operation: str) -> None:
        """End it if it still runs: an operation that was given up, or failed, may not have come to it. Raises TimedOut."""
        if not (self.folder(operation) / "config.json").exists():
            return
        state = await self._runner().attach(self._step(operation))
        if state.started and state.code is None and not state.lost:
            await self._runner().change([PutFile(HostPath(self.folder(operation) / "stop"), b"")])
            await self._wait(operation)

    async def _wait(self, operation: str) -> None:
        runner, step = self._runner(), self._step(operation)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while (state := await runner.attach(step)).code is None and not state.lost:
                    await self.context.store.clock.sleep(0.05)
        except TimeoutError as error:
            raise TimedOut(f"the probe of {operation} did not end within {WAIT_SECONDS:g} s of being told to") from error

    def recording(self, operation: str) -> Recording:
        """Return all that the probe has written."""
        return read_results(self.folder(operation) / "results.jsonl")

    def result(self, operation: str) -> ProbeResult:
        """Return what was seen from its first to its last request."""
        recording = self.recording(operation)
        moments = [outcome.due for outcome in recording.outcomes]
        window = Window(min(moments), max(moments) + 1e-6) if moments else Window(0.0, 0.0)
        return summarize(recording.outcomes, recording.config, window)

    def config(self, operation: str) -> ProbeConfig | None:
        """Return what the probe asks: the declared probes, by default GET of the health path; None without a route or a path."""
        wiring = self.context.wiring(self.environment)
        service, view = wiring.environment.services[self.service], wiring.service(self.service)
        declared, doors = service.probe or default_probe(service), self._doors(wiring)
        if not view.routes or not declared or not doors:
            return None
        folder = self.folder(operation)
        targets = tuple(self._target(probe, view, host, len(doors), door) for probe in declared for host, door in doors.items())
        now = self.context.store.clock.now()
        return ProbeConfig(targets=targets, results=str(folder / "results.jsonl"), stop_file=str(folder / "stop"), deadline=now + LONGEST_SECONDS)

    def _doors(self, wiring: Wiring) -> dict[str, Listener]:
        """Return a TLS listener of the first tier on each of its hosts that knows the service; the machine's own where there is one."""
        ours = {name for name, host in wiring.environment.hosts.items() if host.manage != "never"}
        behind = [node for node in wiring.nodes() if node.is_first and node.host in ours and any(view.name == self.service for view in node.services)]
        return {node.host: next(listener for listener in reversed(node.listeners) if listener.tls) for node in behind}

    def _target(self, probe: Probe, view: ServiceView, host: str, doors: int, door: Listener) -> Target:
        return Target(
            name=f"{probe.method} {probe.path}{f' at {host}' if doors > 1 else ''}",
            address=door.address,
            port=door.port,
            host=view.health_host,
            rate=probe.rate / doors,
            method=probe.method,
            paths=(probe.path,),
            body=probe.body or "",
            ca_file=str(self.context.authority.certificate_file),
            expected=(probe.status,) if probe.status else tuple(range(200, 500)),
        )


async def mark_of(runner: Runner, tier: DesiredTier) -> LogMark | None:
    """Return how a tier's access log stands; None if it is not ours to read, which the receipt says."""
    try:
        return await mark_log(runner, tier.node.folders.access_log, tier.node.subject)
    except NotOurs:
        return None


def default_probe(service: Service) -> tuple[Probe, ...]:
    """Return what is asked where nothing is declared: GET of the health path; no other request is ever made up."""
    return (Probe(path=service.health.http),) if service.health.http else ()


def loss_line(loss: Loss) -> str:
    """Return one lost request for people."""
    at = datetime.fromtimestamp(loss.due, UTC).strftime("%H:%M:%S.%f")[:-3]
    status = f" {loss.status}" if loss.status else ""
    return f"{at} {loss.target} {loss.kind}{status} after {loss.seconds:.2f} s ({loss.lane} connection)"
