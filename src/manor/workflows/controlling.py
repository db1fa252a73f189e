"""Starts the controller so that it outlives us, finds it, and ends it (docs/controller.md).

Invariant: whether it runs is told by asking it; the file that it left, and its pid, are believed only of a process that serves this very state.
Invariant: no process is sent a signal but the one that was found: pid and start time are compared before each.
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
from manor.execution.values import Command, Detached, Effect, HostPath, HttpRequest, MakeFolder, Secret, Touch
from manor.state import tokens
from manor.state.holder import is_process_of, process_start
from manor.state.operations import new_id
from manor.workflows.context import Context
from manor.workflows.housekeeping import own_folder

START_SECONDS = 20.0
STOP_SECONDS = 15.0
KILL_SECONDS = 5.0
POLL_SECONDS = 0.1
FOR_EVER_SECONDS = 10 * 365 * 86400.0
SERVE = "serve"
RUNTIME = Touch(effect=Effect.RUNTIME)


@dataclass(frozen=True)
class RunningController:
    """A controller that answers."""

    url: str
    pid: int
    started: int
    """Ticks since boot: with the pid, no other process has the two."""

    @property
    def is_alive(self) -> bool:
        """Tell whether this very process is still there, not another one that got its pid."""
        return process_start(self.pid) == self.started


def own_runner() -> LocalRunner:
    """Return the runner of this machine."""
    return LocalRunner("controller", Guard("controller"))


async def find_controller(context: Context) -> RunningController | None:
    """Return the controller of this state folder if it answers."""
    found = noted_controller(context)
    if found is None:
        return None
    try:
        answer = await own_runner().request(HttpRequest("GET", f"{found.url}/api/v1/health", timeout_seconds=2.0))
    except ManorError:
        return None
    return found if answer.code == 200 and found.is_alive else None


def noted_controller(context: Context) -> RunningController | None:
    """Return the controller that left the file, if the process is it: it serves, and has the lock of this folder's controller open."""
    file = context.folder / "controller.json"
    if not file.exists():
        return None
    said = json.loads(file.read_text())
    pid = int(said["pid"])
    started = process_start(pid)
    if started is None or said.get("started", started) != started or not is_process_of(pid, context.folder / "controller.lock", SERVE):
        return None
    return RunningController(said["url"], pid, started)


async def start_controller(context: Context) -> tuple[RunningController, Secret | None]:
    """Start it unless it runs; return it, and the first admin's token if there was none before. Raises ApplyFailed if it does not come up."""
    token = await context.store.write(tokens.first_admin, "manor up", at=context.store.clock.now())
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
    words = (sys.executable, "-m", "manor", SERVE, str(context.file), "--verbose")
    command = Command(words, RUNTIME, env={"MANOR_STATE": str(context.folder), **inherited()}, cwd=HostPath(context.file.parent))
    return Detached(f"controller-{start}", HostPath(own_folder(context) / start), command, timeout_seconds=FOR_EVER_SECONDS)


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
    clock = context.store.clock
    limit = clock.now() + STOP_SECONDS
    await send("-TERM", found)
    while found.is_alive and clock.now() <= limit:
        await clock.sleep(POLL_SECONDS)
    await send("-KILL", found)
    limit = clock.now() + KILL_SECONDS
    while found.is_alive and clock.now() <= limit:
        await clock.sleep(POLL_SECONDS)
    return True


async def send(signal: str, controller: RunningController) -> None:
    """Send a signal to the controller, if it is still there."""
    if controller.is_alive:
        await own_runner().run(Command(("kill", signal, str(controller.pid)), RUNTIME, ok_codes=frozenset({0, 1})))
