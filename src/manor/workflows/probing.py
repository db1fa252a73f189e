"""Runs the outside probe of a rollout as a detached process of the controller."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from manor.errors import ApplyFailed, NotOurs, TimedOut
from manor.estate.model import Probe, Service
from manor.estate.topology import Listener, ServiceView
from manor.estate.wiring import Wiring
from manor.execution.base import Runner
from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.execution.values import HostPath, MakeFolder, PutFile
from manor.observe.edge import LogMark, mark_log
from manor.observe.probe.model import Loss, ProbeConfig, Target
from manor.observe.probe.results import Recording, read_results
from manor.observe.window import Window
from manor.reconcile.desired import DesiredTier
from manor.rollout.fleet import ProbeSummary
from manor.rollout.losses import SoFar
from manor.rollout.receipt import ProbeColumn, count_of, probe_column
from manor.rollout.receipt_text import KINDS
from manor.rollout.spans import ProbeSpan, probe_span
from manor.state import journal, operations
from manor.workflows.context import Context
from manor.workflows.probe_runs import ProbeRun, runs_in

MARKS: TypeAdapter[dict[str, LogMark]] = TypeAdapter(dict[str, LogMark])
LONGEST_SECONDS = 3600.0 * 4
"""A probe that nobody ends lasts so much longer than its rollout may."""
BEGIN_SECONDS = 20.0
WAIT_SECONDS = 30.0
POLL_SECONDS = 0.05
SHOWN_LOSSES = 5
LAST_WORDS_BYTES = 600
NEVER_BEGAN = "not asked: the rollout ended before its probe began"
NO_ROUTE = "not asked: the service has no route, so nothing leads to it from outside"
NO_PATH = "not asked: no route leads to the path of its health check; declare `probe`"
NO_DOOR = "not asked: the way in is not Manor's"
TOO_SHORT = ProbeColumn((), 0.0, 0, 0, 0, incomplete=("it ended before its first request was written down",), is_whole=False)


@dataclass(frozen=True)
class LocalProber:
    """The probe of one service's rollouts in one environment, from this machine against the front door."""

    context: Context
    environment: str
    service: str

    def folder(self, operation: str) -> Path:
        """Return where a probe keeps what it sees."""
        return self.context.store.folder.probes / operation

    def _runner(self) -> LocalRunner:
        return LocalRunner("controller", Guard("controller"))

    def _runs(self, operation: str) -> tuple[ProbeRun, ...]:
        return runs_in(self.folder(operation), operation)

    async def start(self, operation: str) -> None:
        """Have the probe run and ask; one that runs already goes on. A service without a way in is not probed. Raises ApplyFailed, TimedOut."""
        now = self.context.store.clock.now()
        total = (await self.context.store.read(operations.get, operation)).deadline or 0.0
        runs = self._runs(operation)
        run = await self._lasting(runs[-1], total) if runs else ProbeRun(operation, self.folder(operation))
        config = self.config(operation, max(now, total) + LONGEST_SECONDS, run)
        if config is None:
            return
        if not (await self._runner().attach(run.step(LONGEST_SECONDS))).started:
            await self._begin(run, config, max(now, total) - now + LONGEST_SECONDS + WAIT_SECONDS)
        await self._until_written(run, 1)

    async def _lasting(self, run: ProbeRun, until: float) -> ProbeRun:
        """Return a process of it that asks for long enough, or is still to be begun; one that would end too early is ended. Raises TimedOut."""
        state = await self._runner().attach(run.step(LONGEST_SECONDS))
        if not state.started:
            return run
        if state.code is not None or state.lost:
            return run.next
        if run.deadline >= until:
            return run
        await self._end(run)
        return run.next

    async def _begin(self, run: ProbeRun, config: ProbeConfig, longest_seconds: float) -> None:
        await self._runner().change([MakeFolder(HostPath(run.folder), 0o700), PutFile(HostPath(run.config), config.model_dump_json(indent=1).encode())])
        await self._mark(run.operation)
        await self._runner().start(run.step(longest_seconds))

    async def _until_written(self, run: ProbeRun, lines: int) -> None:
        """Wait for so many lines of its results. The head is written when the first requests are on their way, so whoever sees it counts on them."""
        runner, step, clock = self._runner(), run.step(LONGEST_SECONDS), self.context.store.clock
        limit, operation = clock.now() + BEGIN_SECONDS, run.operation
        results = HostPath(run.results)
        while (await runner.read([results])).get(results, b"").count(b"\n") < lines:
            state = await runner.attach(step)
            if state.code is not None or state.lost:
                words = (await runner.log(step))[-LAST_WORDS_BYTES:].decode("utf-8", "replace").strip()
                raise ApplyFailed(f"the probe of {operation} ended before it wrote that it asks: {words}")
            if clock.now() >= limit:
                raise TimedOut(f"the probe of {operation} did not begin within {BEGIN_SECONDS:g} s")
            await clock.sleep(POLL_SECONDS)

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

    async def so_far(self, operation: str) -> SoFar:
        """Return what it has written down, once it has written anything down. Raises ApplyFailed, TimedOut if it does not."""
        runs = self._runs(operation)
        if not runs:
            return SoFar()
        await self._until_written(runs[-1], 2)
        seen = self.recording(operation)
        middle = Window(min((each.due for each in seen.outcomes), default=seen.last_seen), seen.last_seen).middle
        late = [each for each in seen.outcomes if each.done >= middle]
        return SoFar(count_of(seen.outcomes), count_of(late), seen.in_flight)

    async def stop(self, operation: str) -> ProbeSummary:
        """End it and return what it saw."""
        runs = self._runs(operation)
        if not runs:
            return ProbeSummary(0, 0)
        await self._end(runs[-1])
        return summary_of(await self.column(operation, self.context.store.clock.now()))

    async def column(self, operation: str, until: float) -> ProbeColumn:
        """Return what it saw, and what it lacks of the rollout as the journal has it; `until` is when that ended at the latest."""
        span, runs = await self._span(operation, until), self._runs(operation)
        if span is None:
            return not_asked(NEVER_BEGAN)
        if not runs:
            return not_asked(self.why_not() or NEVER_BEGAN)
        if not any(run.results.exists() for run in runs):
            return TOO_SHORT
        return probe_column(self.recording(operation), span)

    async def _span(self, operation: str, until: float) -> ProbeSpan | None:
        store = self.context.store
        pauses = await store.read(operations.pauses, operation)
        return probe_span(await store.read(journal.steps, operation), await store.read(journal.history, operation), until, pauses)

    async def end(self, operation: str) -> None:
        """End it if it still runs: an operation that was given up, or failed, may not have come to it. Raises TimedOut."""
        for run in self._runs(operation)[-1:]:
            state = await self._runner().attach(run.step(LONGEST_SECONDS))
            if state.started and state.code is None and not state.lost:
                await self._end(run)

    async def _end(self, run: ProbeRun) -> None:
        await self._runner().change([PutFile(HostPath(run.stop_file), b"")])
        await self._wait(run)

    async def _wait(self, run: ProbeRun) -> None:
        """Wait until it has ended; one that was never begun has."""
        runner, step = self._runner(), run.step(LONGEST_SECONDS)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while (state := await runner.attach(step)).started and state.code is None and not state.lost:
                    await self.context.store.clock.sleep(POLL_SECONDS)
        except TimeoutError as error:
            raise TimedOut(f"the probe of {run.operation} did not end within {WAIT_SECONDS:g} s of being told to") from error

    def recording(self, operation: str) -> Recording:
        """Return all that the probe has written. Raises ManorError if it has not written anything."""
        first, *later = [run.results for run in self._runs(operation) if run.results.exists()]
        return read_results(first, *later)

    def why_not(self) -> str:
        """Return why nothing can be asked from outside; empty: it can."""
        wiring = self.context.wiring(self.environment)
        service, view = wiring.environment.services[self.service], wiring.service(self.service)
        if not view.routes:
            return NO_ROUTE
        if not self._doors(wiring):
            return NO_DOOR
        return "" if service.probe or default_probe(service, view) else NO_PATH

    def config(self, operation: str, deadline: float | None = None, run: ProbeRun | None = None) -> ProbeConfig | None:
        """Return what the probe asks: the declared probes, by default GET of the health path; None without a route or a path."""
        if self.why_not():
            return None
        wiring = self.context.wiring(self.environment)
        service, view = wiring.environment.services[self.service], wiring.service(self.service)
        declared, doors = service.probe or default_probe(service, view), self._doors(wiring)
        run = run or ProbeRun(operation, self.folder(operation))
        targets = tuple(self._target(probe, view, host, len(doors), door) for probe in declared for host, door in doors.items())
        return ProbeConfig(targets=targets, results=str(run.results), stop_file=str(run.stop_file), deadline=deadline)

    def period_seconds(self) -> float:
        """Return the time between two of the rarest requests; 0 where nothing is asked."""
        config = self.config("")
        return max((1 / target.rate for target in config.targets), default=0.0) if config else 0.0

    def _doors(self, wiring: Wiring) -> dict[str, Listener]:
        """Return a TLS listener of the first tier on each of its hosts that knows the service; the machine's own where there is one.

        None where the way in is somebody else's.
        """
        ours = {name for name, host in wiring.environment.hosts.items() if host.manage != "never"}
        listening = [node for node in wiring.nodes() if node.is_first and node.has_files and node.host in ours]
        behind = [node for node in listening if any(view.name == self.service for view in node.services)]
        return {node.host: next(listener for listener in reversed(node.listeners) if listener.tls) for node in behind}

    def _target(self, probe: Probe, view: ServiceView, host: str, doors: int, door: Listener) -> Target:
        return Target(
            name=f"{probe.method} {probe.path}{f' at {host}' if doors > 1 else ''}",
            address=door.address,
            port=door.port,
            host=host_for(view, probe.path) or view.health_host,
            rate=probe.rate / doors,
            method=probe.method,
            paths=(probe.path,),
            body=probe.body or "",
            ca_file=str(self.context.authority.certificate_file),
            expected=(probe.status,) if probe.status else tuple(range(200, 500)),
            follows_baseline=probe.status is None,
        )


def not_asked(why: str) -> ProbeColumn:
    """Return the column of a rollout that was not probed."""
    return ProbeColumn((), 0.0, 0, 0, 0, incomplete=(why,))


async def mark_of(runner: Runner, tier: DesiredTier) -> LogMark | None:
    """Return how a tier's access log stands; None if it is not ours to read, which the receipt says."""
    try:
        return await mark_log(runner, tier.node.folders.access_log, tier.node.subject)
    except NotOurs:
        return None


def default_probe(service: Service, view: ServiceView) -> tuple[Probe, ...]:
    """Return what is asked where nothing is declared: GET of the health path, with the status that health is; no other request is ever made up.

    Nothing where no route leads to that path: the front door would answer for somebody else.
    """
    health = service.health
    return (Probe(path=health.http, status=health.status),) if health.http and host_for(view, health.http) else ()


def host_for(view: ServiceView, path: str) -> str:
    """Return a host name under which the front door takes a path for this service; empty: there is none."""
    bare = path.partition("?")[0]
    fitting = [route for route in view.routes if bare == route.path or bare.startswith(route.path.rstrip("/") + "/")]
    return max(fitting, key=lambda route: len(route.path)).hosts[0] if fitting else ""


def summary_of(column: ProbeColumn) -> ProbeSummary:
    """Return what a rollout has to know of it."""
    since = [loss for loss in column.losses if column.baseline is None or loss.due >= column.baseline.end] or column.losses
    losses = tuple(loss_line(loss) for loss in since[:SHOWN_LOSSES])
    gap = "" if column.is_whole else "; ".join(column.incomplete)
    outage = column.outage.seconds if column.outage else 0.0
    return ProbeSummary(column.sent, column.lost, losses, gap, outage, column.sent_before, column.lost_before, column.late, column.alone)


def loss_line(loss: Loss) -> str:
    """Return one lost request for people."""
    at = datetime.fromtimestamp(loss.due, UTC).strftime("%H:%M:%S.%f")[:-3]
    status = f" {loss.status}" if loss.status else ""
    return f"{at} {loss.target} {KINDS[loss.kind]}{status} after {loss.seconds:.2f} s ({loss.lane} connection)"
