"""The kinds of step of an apply: fence and prepare here, the others by what they concern (docs/apply.md).

Invariant: nothing is written before every vendor's checker has accepted its part, but for folders, pages and certificate.
"""

from __future__ import annotations

from dataclasses import dataclass

from manor.execution.values import MakeFolder
from manor.operations.step import Evidence, Here, Step
from manor.reconcile.parts import remember_beside
from manor.reconcile.site import HostStep, Site, remove_strays, write_changed
from manor.reconcile.supervising import CheckSupervisor, Supervise
from manor.reconcile.tiers import ChangeTier, CheckTier, ConfirmTier, TellTier, VerifyTier


@dataclass(frozen=True)
class FenceHost(HostStep):
    """Tell the host who acts now; it refuses who came before."""

    kind = "fence"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return "takes orders from this operation"

    async def do(self, ports: Site, here: Here) -> Evidence:
        """Nothing more: the host has the token. It refused an older one, and another state folder, before."""
        return f"token {here.token}"


@dataclass(frozen=True)
class PrepareHost(HostStep):
    """Folders, wrapper, pages, certificate, handbook."""

    kind = "prepare"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return "folders, pages, certificate"

    async def do(self, ports: Site, here: Here) -> Evidence:
        """Write what differs."""
        host, runner = ports.hosts[self.host], ports.runners[self.host]
        layout = host.layout
        folders = [layout.root / name for name in ("etc", "run", "log", "releases", "slots", "shared", "ops", "state")]
        own = [folder for tier in host.tiers for folder in (tier.node.folders.etc, tier.node.folders.run, tier.node.folders.log, tier.node.folders.state)]
        slots = [layout.slot(program.name.rsplit("-", 1)[0], "a").parent for program in host.supervised.programs if program.wanted]
        static = [layout.slot(view.name, "a").parent for view in ports.wiring.services(self.host)]
        private = [
            MakeFolder(layout.sockets.parent, 0o700, is_own=True),
            MakeFolder(layout.sockets, 0o700, is_own=True),
            MakeFolder(layout.tls, 0o700),
            *host.supervisor.folders(host.supervised),
        ]
        await runner.change([*private, *(MakeFolder(path) for path in dict.fromkeys([*folders, layout.pages, layout.supervisor, *own, *slots, *static]))])
        changed = await write_changed(runner, host.base)
        await remember_beside(host, runner)
        await remove_strays(layout.pages, (file.path for file in host.base), runner)
        return f"{changed} files"


KINDS: tuple[type[Step[Site]], ...] = (FenceHost, PrepareHost, CheckTier, CheckSupervisor, ChangeTier, Supervise, VerifyTier, ConfirmTier, TellTier)
