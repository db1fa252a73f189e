"""One health check of a slot, made on its own host as the service declares it.

Invariant: reads only; a check that can't be made has failed, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass

from manor.errors import CommandFailed, Unreachable
from manor.estate.model import Health, Service
from manor.estate.topology import ServiceView, SlotServer
from manor.execution.base import Runner
from manor.execution.values import Command, Connect, HttpRequest, Touch
from manor.rollout.fleet import Checked
from manor.rollout.release import Where, command_words, parse_env, port_of

NO_ANSWER = frozenset({502, 503, 504})
"""What `web` answers for a program that does not."""


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
        health = self.declared.health
        try:
            if health.http is not None:
                return await self._check_http(health)
            if health.command is not None:
                return await self._check_command(health)
            server = self.server
            await self.runner.connect(Connect(server.address, server.service_port or server.port, timeout_seconds=health.timeout))
        except (Unreachable, CommandFailed) as error:
            return Checked(passed=False, detail=str(error))
        return Checked(passed=True, detail="")

    async def _check_http(self, health: Health) -> Checked:
        server = self.server
        headers = {"Host": self.view.health_host, "X-Manor-Service": self.view.name, "Connection": "close"}
        url = f"http://{server.address}:{server.port}{health.http}"
        answer = await self.runner.request(HttpRequest("GET", url, headers, timeout_seconds=health.timeout))
        if answer.code == health.status:
            return Checked(passed=True, detail="")
        if answer.code in NO_ANSWER and not await self._listens():
            return Checked(passed=False, detail=f"not listening yet on port {server.service_port}")
        return Checked(passed=False, detail=f"{health.http} answers {answer.code}, not {health.status}")

    async def _listens(self) -> bool:
        """Tell whether anything accepts connections at the program's own port; `web` before it answers for it otherwise."""
        server = self.server
        if server.service_port is None or server.service_port == server.port:
            return True
        try:
            await self.runner.connect(Connect(server.address, server.service_port, timeout_seconds=self.declared.health.timeout))
        except Unreachable:
            return False
        return True

    async def _check_command(self, health: Health) -> Checked:
        place = self.where
        words = command_words(health.command or "", place.address, port_of(self.declared, place.slot))
        path = place.layout.slot_env(self.view.name, place.slot)
        env = parse_env((await self.runner.read([path])).get(path, b""))
        touch = Touch(subject=f"service/{self.view.name}")
        folder = place.layout.slot(self.view.name, place.slot)
        await self.runner.run(Command(tuple(words), touch, env, folder, timeout_seconds=health.timeout))
        return Checked(passed=True, detail="")
