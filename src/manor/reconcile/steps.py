"""The kinds of step of an apply: fence and prepare here, the others by what they concern (docs/apply.md).

Invariant: nothing is written before every vendor's checker has accepted its part, but for folders, pages and certificate.
"""

from __future__ import annotations

from dataclasses import dataclass

from manor.execution.values import MakeFolder, PutFile
from manor.operations.step import Evidence, Here, Holds, Step
from manor.reconcile.desired import DesiredHost
from manor.reconcile.parts import remember_beside
from manor.reconcile.site import HostStep, Site, fencing_acts, remove_strays, with_parents, write_changed
from manor.reconcile.supervising import CheckSupervisor, Supervise
from manor.reconcile.tiers import ChangeTier, CheckTier, ConfirmTier, TellTier, VerifyTier


@dataclass(frozen=True)
class FenceHost(HostStep):
    """Tell the host who acts now; it refuses who came before."""

    kind = "fence"
    precondition = "the host has seen no newer token, and is this state folder's or nobody's"
    postcondition = "the host has this executor's token and refuses older ones"
    compensation = "none needed: the token changes nothing that runs"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return "takes orders from this operation"

    async def observe(self, ports: Site, here: Here) -> Holds:
        """Tell whether the host has our token. Raises FencedOff if it has a newer one."""
        host, runner = ports.hosts[self.host], ports.runners[self.host]
        acts = await fencing_acts(host, runner, ports.state_id, ports.lease, here.token)
        return Holds.pre() if acts else Holds.post(f"token {here.token}")

    async def do(self, ports: Site, here: Here) -> Evidence:
        """Nothing more: the host has the token. It refused an older one, and another state folder, before."""
        return f"token {here.token}"


PREPARED = "prepared"
"""In this file a host keeps which operation made all its folders and files last."""


@dataclass(frozen=True)
class PrepareHost(HostStep):
    """Folders, wrapper, pages, certificate, handbook."""

    kind = "prepare"
    precondition = "the host takes orders from this operation"
    postcondition = "folders, wrapper, pages, certificate and handbook are as declared"
    compensation = "none needed: nothing that runs is told of them"

    @property
    def text(self) -> str:
        """Return one line for the operator."""
        return "folders, pages, certificate"

    async def observe(self, ports: Site, here: Here) -> Holds:
        """Tell whether all was written: as was noted last, for modes of folders can't be read back, and nothing differs since."""
        host, runner = ports.hosts[self.host], ports.runners[self.host]
        wanted = {file.path: file.digest for file in host.base}
        folders, mark = [act.path for act in folders_of(host, ports)], host.layout.root / "run" / PREPARED
        there, by = await runner.digest([*wanted, *folders]), (await runner.read([mark])).get(mark, b"").decode()
        strays = {host.layout.pages / name for name in await runner.listing(host.layout.pages)} - set(wanted)
        is_done = by == here.operation and not strays and all(there.get(path) == digest for path, digest in wanted.items()) and set(folders) <= set(there)
        return Holds.post("nothing differs") if is_done else Holds.pre()

    async def do(self, ports: Site, here: Here) -> Evidence:
        """Write what differs."""
        host, runner = ports.hosts[self.host], ports.runners[self.host]
        await runner.change(folders_of(host, ports))
        changed = await write_changed(runner, host.base)
        await remember_beside(host, runner)
        await remove_strays(host.layout.pages, (file.path for file in host.base), runner)
        await runner.change(with_parents([PutFile(host.layout.root / "run" / PREPARED, here.operation.encode())]))
        return f"{changed} files"


def folders_of(host: DesiredHost, ports: Site) -> list[MakeFolder]:
    """Return the acts that make a host's folders."""
    layout = host.layout
    folders = [layout.root / name for name in ("etc", "run", "log", "releases", "slots", "shared", "ops", "state")]
    own = [folder for tier in host.tiers for folder in (tier.node.folders.etc, tier.node.folders.run, tier.node.folders.log, tier.node.folders.state)]
    slots = [layout.slot(program.name.rsplit("-", 1)[0], "a").parent for program in host.supervised.programs if program.wanted]
    static = [layout.slot(view.name, "a").parent for view in ports.wiring.services(host.name)]
    private = [
        MakeFolder(layout.sockets.parent, 0o700, is_own=True),
        MakeFolder(layout.sockets, 0o700, is_own=True),
        MakeFolder(layout.tls, 0o700),
        *host.supervisor.folders(host.supervised),
    ]
    others = dict.fromkeys([*folders, layout.pages, layout.supervisor, *own, *slots, *static])
    return [*private, *(MakeFolder(path) for path in others)]


KINDS: tuple[type[Step[Site]], ...] = (FenceHost, PrepareHost, CheckTier, CheckSupervisor, ChangeTier, Supervise, VerifyTier, ConfirmTier, TellTier)
