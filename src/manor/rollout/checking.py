"""One health check of a slot, made on its own host as the service declares it.

Invariant: reads only; a check that can't be made has failed, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass

from manor.errors import CommandFailed, Unreachable
from manor.estate.model import Health, Service
from manor.estate.topology import ServiceView, SlotServer
from manor.execution.base import Runner
from manor.execution.values import Command, Touch
from manor.observe.health import http_problem, refusal
from manor.rollout.fleet import Checked
from manor.rollout.release import Where, command_words, parse_env, port_of


@dataclass(frozen=True)
class Checking:
    """What a check of one slot needs to know."""

    declared: Service
    view: ServiceView
    server: SlotServer
    where: Where
    runner: Runner

    async def check(self) -> Checked:
        """Check the slot's health once."""
        problem = await self._problem(self.declared.health)
        return Checked(passed=not problem, detail=problem)

    async def _problem(self, health: Health) -> str:
        server = self.server
        if health.http is not None:
            return await http_problem(self.runner, self.view, server)
        if health.command is not None:
            return await self._command_problem(health.command, health.timeout)
        return await refusal(self.runner, self.view, server, server.service_port or server.port)

    async def _command_problem(self, command: str, timeout_seconds: float) -> str:
        place = self.where
        words = command_words(command, place.address, port_of(self.declared, place.slot))
        path = place.layout.slot_env(self.view.name, place.slot)
        touch = Touch(subject=f"service/{self.view.name}")
        folder = place.layout.slot(self.view.name, place.slot)
        try:
            env = parse_env((await self.runner.read([path])).get(path, b""))
            await self.runner.run(Command(tuple(words), touch, env, folder, timeout_seconds=timeout_seconds))
        except (Unreachable, CommandFailed) as error:
            return str(error)
        return ""
