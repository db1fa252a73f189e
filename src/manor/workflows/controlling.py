"""Starts the controller so that it outlives us, finds it, and ends it (docs/controller.md).

Invariant: whether it runs is told by asking it, not by a file or a pid.
Invariant: the first admin token is made here, shown once, and is in no log.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass

from manor.errors import ApplyFailed, ManorError
from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.execution.values import Command, Detached, HostPath, HttpRequest, MakeFolder, Secret
from manor.state import tokens
from manor.state.operations import new_id
from manor.state.store import Connection
from manor.workflows.context import Context

START_SECONDS = 20.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.1
FOR_EVER_SECONDS = 10 * 365 * 86400.0
FIRST_ADMIN = "first-admin"


@dataclass(frozen=True)
class RunningController:
    """A controller that answers."""

    url: str
    pid: int


def own_runner() -> LocalRunner:
    """Return the runner of this machine."""
    return LocalRunner("controller", Guard("controller"))


async def find_controller(context: Context) -> RunningController | None:
    """Return the controller of this state folder if it answers."""
    file = context.folder / "controller.json"
    if not file.exists():
        return None
    said = json.loads(file.read_text())
    try:
        answer = await own_runner().request(HttpRequest("GET", f"{said['url']}/api/v1/health", timeout_seconds=2.0))
    except ManorError:
        return None
    return RunningController(said["url"], int(said["pid"])) if answer.code == 200 else None


async def start_controller(context: Context) -> tuple[RunningController, Secret | None]:
    """Start it unless it runs; return it, and the first admin's token if there was none before. Raises ApplyFailed if it does not come up."""
    token = await context.store.write(first_admin, context.store.clock.now())
    found = await find_controller(context)
    if found is None:
        step = detached(context, new_id(context.store.clock.now()))
        runner = own_runner()
        await runner.change([MakeFolder(step.folder.parent, 0o700)])
        await runner.start(step)
        found = await wait_for_controller(context, step)
    return found, token


def detached(context: Context, start: str) -> Detached:
    """Return the controller as a program that outlives us; each start is one of its own."""
    words = (sys.executable, "-m", "manor", "serve", str(context.file), "--verbose")
    command = Command(words, env={"MANOR_STATE": str(context.folder), **inherited()}, cwd=HostPath(context.file.parent))
    return Detached(f"controller-{start}", HostPath(context.folder / "controller" / start), command, timeout_seconds=FOR_EVER_SECONDS)


def inherited() -> dict[str, str]:
    """Return what a controller must be told of our own environment: where its code, wheels and the machine's file are."""
    names = ("PYTHONPATH", "MANOR_MACHINE_FILE", "MANOR_WHEELHOUSE")
    return {name: os.environ[name] for name in names if name in os.environ}


async def wait_for_controller(context: Context, step: Detached) -> RunningController:
    """Wait until it answers. Raises ApplyFailed with its last words."""
    clock, runner = context.store.clock, own_runner()
    limit = clock.now() + START_SECONDS
    while (found := await find_controller(context)) is None:
        state = await runner.attach(step)
        if state.code is not None or state.lost or clock.now() > limit:
            words = (await runner.log(step))[-600:].decode("utf-8", "replace").strip()
            raise ApplyFailed(f"the controller does not answer; its log is in {step.folder}: {words}")
        await clock.sleep(POLL_SECONDS)
    return found


async def stop_controller(context: Context) -> bool:
    """End the controller and wait until it is gone; False if none ran. Runs and operations go on with the next one."""
    found = await find_controller(context)
    if found is None:
        return False
    runner, clock = own_runner(), context.store.clock
    limit = clock.now() + STOP_SECONDS
    await runner.run(Command(("kill", "-TERM", str(found.pid))))
    while await find_controller(context) is not None:
        if clock.now() > limit:
            await runner.run(Command(("kill", "-KILL", str(found.pid)), ok_codes=frozenset({0, 1})))
            break
        await clock.sleep(POLL_SECONDS)
    await wait_until_gone(context, found.pid, limit)
    return True


async def wait_until_gone(context: Context, pid: int, limit: float) -> None:
    """Wait until the process is gone: until then it has the state open."""
    while context.store.clock.now() <= limit and (await own_runner().run(Command(("kill", "-0", str(pid)), ok_codes=frozenset({0, 1})))).code == 0:
        await context.store.clock.sleep(POLL_SECONDS)


def first_admin(connection: Connection, now: float) -> Secret | None:
    """Make a token with every right if there is no token at all yet."""
    if tokens.all_tokens(connection):
        return None
    return tokens.issue(connection, FIRST_ADMIN, ["admin"], "manor up", at=now)
