"""`manor serve`: git, ledger, pipelines, adoption, housekeeping, API and status page in one process (docs/controller.md).

Invariant: may be killed at any moment; the next one goes on from the store, the refs and the hosts.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from manor.errors import Busy, ManorError
from manor.execution.durable import Disk
from manor.execution.files import carry_out
from manor.execution.values import HostPath, MakeFolder, PutFile
from manor.operations.chaos import chaos_from
from manor.operations.events import Listener as EventListener
from manor.operations.events import silent
from manor.pipeline.worker import Worker as PipelineWorker
from manor.state import tokens
from manor.state.deliveries import Delivery
from manor.state.holder import process_start
from manor.state.lock import take
from manor.state.runs import Run
from manor.web import uploads
from manor.web.api import ApiPorts, Handed
from manor.web.app import WebPorts, make_app
from manor.web.git import GitPorts, GitServer
from manor.web.readings import EnvironmentFacts, Readings, delivery_view, operation_view
from manor.web.server import Listener, Worker, every, listen_on_port, log, serve
from manor.web.sessions import Sessions, session_key
from manor.web.tokens import token_check
from manor.web.uploads import JUNIT
from manor.web.views import DeliveryView, OperationView
from manor.workflows.artifacts import Origin
from manor.workflows.context import Context
from manor.workflows.serving import Controller, Serving, default_wheelhouse
from manor.workflows.up import ways_in
from manor.workflows.watching import Watching

FIRST_PORT, LAST_PORT = 7080, 7179
TRAFFIC_SECONDS, HEALTH_SECONDS = 30.0, 3.0
LEDGER_SECONDS, ADOPT_SECONDS, HOUSE_SECONDS, RELOAD_SECONDS, CLEAN_SECONDS, PACK_SECONDS = 10.0, 2.0, 5.0, 2.0, 3600.0, 86400.0


async def control(context: Context, address: str, port: int | None, say: Callable[[Serving], None], listener: EventListener = silent) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises Busy if another controller of this state folder runs, or the port is taken."""
    with take(context.folder / "controller.lock", fcntl.LOCK_EX, "has a controller already, which `manor down` ends", 0.0):
        await control_alone(context, address, port, say, listener)


async def control_alone(context: Context, address: str, port: int | None, say: Callable[[Serving], None], heard_by: EventListener) -> None:
    """Serve; nobody else does for this state folder."""
    controller = Controller(context, default_wheelhouse(), chaos_from(os.environ), heard_by)
    await controller.prepare()
    listener, stopping = listen(context, address, port), asyncio.Event()
    git = GitServer(git_ports(controller, listener))
    incoming = context.store.folder.artifacts / "incoming"
    watching = Watching(lambda: controller.context)
    readings = Readings(context.store, context.estate.name, environment_facts(context), watching.seen)
    api = ApiPorts(
        status=readings.status,
        runs=readings.runs,
        run=readings.run,
        run_log=controller.read_log,
        operations=readings.operations,
        operation=readings.operation,
        operation_events=controller.events,
        receipts=readings.receipts,
        receipt=readings.receipt,
        ship=shipping(controller),
        delivery=readings.delivery,
        incoming=incoming,
    )
    uploads.sweep(incoming)
    sessions = Sessions(session_key(context.folder / "web.key"))
    app = make_app(WebPorts(token_check(context.store), sessions, api, git, stopping))
    say(announce(context, listener))
    try:
        await serve(app, listener, workers(controller, readings, watching), stopping, git.close)
    finally:
        controller_file(context).unlink(missing_ok=True)


def listen(context: Context, address: str, port: int | None) -> Listener:
    """Listen where it is told, else where the last controller of this state folder did, else on the first free port. Raises Busy."""
    if port is not None:
        return listen_on_port(address, port)
    last = json.loads(text).get("port") if (text := last_file(context).read_text() if last_file(context).exists() else "") else None
    for candidate in dict.fromkeys([*([last] if last else []), *range(FIRST_PORT, LAST_PORT + 1)]):
        try:
            return listen_on_port(address, candidate)
        except Busy:
            continue
    raise Busy(f"{address}: no free port from {FIRST_PORT} to {LAST_PORT}; name one with --port")


def controller_file(context: Context) -> Path:
    """Return the file that says where a running controller listens."""
    return context.folder / "controller.json"


def last_file(context: Context) -> Path:
    """Return the file that keeps where the last controller listened."""
    return context.folder / "controller.last.json"


def announce(context: Context, listener: Listener) -> Serving:
    """Leave a file for other verbs, and return where it listens, with the first token once."""
    port = listener.socket.getsockname()[1]
    content = json.dumps({"url": listener.url, "port": port, "pid": os.getpid(), "started": process_start(os.getpid())}).encode()
    for path in (last_file(context), controller_file(context)):
        carry_out(Disk(), PutFile(HostPath(path), content, 0o600))
    token = context.store.write_now(tokens.first_admin, "manor serve", at=context.store.clock.now())
    return Serving(context.estate.name, listener.url, token)


def git_ports(controller: Controller, listener: Listener) -> GitPorts:
    """Return what git over HTTP needs."""
    empty = HostPath(controller.context.folder / "empty")
    carry_out(Disk(), MakeFolder(empty, 0o700))
    return GitPorts(controller.hosting, controller.repositories.find, token_check(controller.context.store), controller, listener.callback_base, empty)


def environment_facts(context: Context) -> list[EnvironmentFacts]:
    """Return what the status page shows of the declaration."""
    return [
        EnvironmentFacts(name, environment.after or "", {way.service: way.url for way in ways_in(context, name)})
        for name, environment in context.estate.environments.items()
    ]


def shipping(controller: Controller) -> Callable[[Handed], Awaitable[OperationView | DeliveryView]]:
    """Return what takes an artifact in and answers with the operation that delivers it, or with the delivery that waits."""

    async def ship(handed: Handed) -> OperationView | DeliveryView:
        origin = Origin(handed.commit, handed.build_url, handed.upload.junit, JUNIT, "the artifact that was sent")
        found = await controller.hand_in(handed.service, handed.upload.file, origin, to=handed.to, actor=handed.actor, again=handed.again)
        return delivery_view(found) if isinstance(found, Delivery) else operation_view(found)

    return ship


def reloading(controller: Controller, readings: Readings) -> Callable[[], Awaitable[None]]:
    """Return what takes a changed estate over and shows it, whoever noticed the change."""
    shown = controller.context.estate.digest

    async def reload() -> None:
        nonlocal shown
        await controller.reload()
        if controller.context.estate.digest != shown:
            shown = controller.context.estate.digest
            readings.declare(controller.context.estate.name, environment_facts(controller.context))

    return reload


def workers(controller: Controller, readings: Readings, watching: Watching) -> list[Worker]:
    """Return what goes on in the background."""
    pipelines = PipelineWorker(controller.pipeline_ports(), controller.deliver_run, on_trouble=tell_trouble)
    return [
        every(LEDGER_SECONDS, "ledger", controller.ledger.catch_up_all),
        Worker("pipelines", pipelines.work),
        every(ADOPT_SECONDS, "adoption", controller.adopt),
        every(ADOPT_SECONDS, "deliveries", controller.deliveries.catch_up),
        every(HOUSE_SECONDS, "housekeeping", controller.keep_house),
        every(TRAFFIC_SECONDS, "traffic", controller.keep_traffic),
        every(HEALTH_SECONDS, "health", watching.look),
        every(RELOAD_SECONDS, "estate", reloading(controller, readings)),
        every(CLEAN_SECONDS, "retention", controller.clean),
        every(PACK_SECONDS, "packing", controller.repositories.housekeeping),
    ]


def tell_trouble(run: Run, error: ManorError) -> None:
    """Write into the log what keeps a run from going on."""
    log.warning("run %s: %s", run.id, error)
