"""An environment as an apply acts on it, and what every kind of step needs: the fence, writing, strays.

Invariant: nothing is written on a host before it has been told who acts; it refuses who came before.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel, ConfigDict

from manor.errors import ApplyFailed, ManorError, Refused
from manor.estate.wiring import Wiring
from manor.execution.base import Runner
from manor.execution.values import Act, Command, Effect, FileAct, HostPath, MakeFolder, PutFile, PutLink, PutTree, Remove, Touch
from manor.operations.fencing import admit
from manor.operations.step import Evidence, Here, Holds, Step
from manor.reconcile.desired import DesiredFile, DesiredHost, DesiredTier
from manor.state.store import Store

READY_SECONDS = 20.0
POLL_SECONDS = 0.1
SLACK_SECONDS = 10.0


@dataclass(frozen=True)
class Site:
    """An environment as an apply acts on it."""

    wiring: Wiring
    hosts: Mapping[str, DesiredHost]
    runners: Mapping[str, Runner]
    store: Store
    state_id: str
    lease: str

    def tier(self, host: str, key: str) -> DesiredTier:
        """Return a tier of a host. Raises ManorError if the estate no longer has it."""
        for tier in self.hosts[host].tiers:
            if tier.node.key == key:
                return tier
        raise ManorError(f"{host} has no tier {key}")

    async def fence(self, host: str, token: int) -> None:
        """Have a host refuse whoever came before. Raises FencedOff if it has seen a newer token, Refused."""
        await fence(self.hosts[host], self.runners[host], self.state_id, self.lease, token)


@dataclass(frozen=True)
class HostStep(Step[Site]):
    """A step on one host; done again, it does the same.

    Its executor may have been stopped for longer than its lease lives, so each asks the host first whether it may still act.
    """

    host: str

    async def act(self, ports: Site, here: Here) -> Evidence:
        """Ask the host, then do it. Raises FencedOff if somebody has taken over, and what `do` raises."""
        await ports.fence(self.host, here.token)
        return await self.do(ports, here)

    @abstractmethod
    async def do(self, ports: Site, here: Here) -> Evidence:
        """Do it on a host that takes orders from us, and return what shows that it is done. Raises as `act`."""

    async def observe(self, ports: Site, here: Here) -> Holds:
        """Ask again: most kinds only look, and an answer that nobody wrote down is none. A kind that changes something tells what holds."""
        return Holds.pre()


class Manifest(BaseModel):
    """What a host remembers of whose it is."""

    model_config = ConfigDict(frozen=True)
    state: str


async def fence(host: DesiredHost, runner: Runner, state_id: str, lease: str, token: int) -> None:
    """Record a token on the host: a file a lease, so that operations under different leases don't overwrite each other. Raises FencedOff, Refused."""
    acts = await fencing_acts(host, runner, state_id, lease, token)
    if acts:
        await runner.change(with_parents(acts))


async def fencing_acts(host: DesiredHost, runner: Runner, state_id: str, lease: str, token: int) -> list[PutFile]:
    """Return what records a token on the host, from one listing and one read; nothing if it is recorded. Raises FencedOff, Refused."""
    path, folder = host.layout.manifest, host.layout.token("any").parent
    texts = await runner.read([path, *(folder / name for name in await runner.listing(folder))])
    manifest = Manifest.model_validate_json(texts[path]) if path in texts else Manifest(state=state_id)
    if manifest.state != state_id:
        raise Refused(f"{host.name}: {path} says that another Manor ({manifest.state}) has charge of this host; take it over with that one, or remove the file")
    seen = {file.name.replace("+", "/"): int(text) for file, text in texts.items() if file != path}
    now = admit(seen, lease, token)
    acts = [] if path in texts else [PutFile(path, manifest.model_dump_json(indent=1).encode() + b"\n", 0o600)]
    return acts + ([PutFile(host.layout.token(lease), f"{token}\n".encode(), 0o600)] if now != seen else [])


async def write_changed(runner: Runner, files: Iterable[DesiredFile], own: HostPath | None = None) -> int:
    """Write the files that differ from what is there; return how many. The folder of `own`, our file beside other people's, is never made."""
    wanted = list(files)
    there = await runner.digest([file.path for file in wanted])
    acts = [put(file) for file in wanted if there.get(file.path) != file.digest]
    await runner.change([*with_parents([act for act in acts if act.path != own]), *(act for act in acts if act.path == own)])
    return len(acts)


def put(file: DesiredFile) -> PutFile:
    """Return the act that writes a file."""
    return PutFile(file.path, file.content, file.mode, Touch(subject=file.subject, effect=Effect.INCLUDE))


def with_parents(acts: Sequence[FileAct]) -> list[FileAct]:
    """Return the acts with the folders that their files need before them."""
    parents = dict.fromkeys(act.path.parent for act in acts if isinstance(act, PutFile | PutLink | PutTree))
    return [*(MakeFolder(path) for path in parents), *acts]


def anyhow(command: Command, folder: HostPath) -> Command:
    """Return a command whose exit code is an answer, whatever it is, and that starts in a folder which is removed afterwards."""
    return replace(command, ok_codes=frozenset(range(256)), cwd=command.cwd or folder)


async def tell_supervisor(host: DesiredHost, runner: Runner, act: Act) -> None:
    """Have the supervisor do something. Raises ApplyFailed with what went wrong."""
    problem = host.supervisor.parse_done(act, await runner.carry_out(act))
    if problem is not None:
        raise ApplyFailed(f"{host.name}: {host.supervisor.name}: {problem}")


async def remove_strays(folder: HostPath, wanted: Iterable[HostPath], runner: Runner, subject: str = "host") -> None:
    """Remove what lies in a folder of ours and is no longer declared."""
    kept = set(wanted)
    strays = [folder / name for name in await runner.listing(folder) if not any(is_at_or_under(path, folder / name) for path in kept)]
    await runner.change([Remove(path, Touch(subject=subject, effect=Effect.INCLUDE)) for path in strays])


def is_at_or_under(path: HostPath, folder: HostPath) -> bool:
    """Tell whether a path is, or lies in, a folder."""
    return path == folder or folder in path.parents
