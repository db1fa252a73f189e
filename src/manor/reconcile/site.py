"""An environment as an apply acts on it, and what every kind of step needs: the fence, writing, strays.

Invariant: nothing is written on a host before it has been told who acts; it refuses who came before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel, ConfigDict

from manor.errors import ApplyFailed, ManorError, Refused
from manor.estate.wiring import Wiring
from manor.execution.base import Runner
from manor.execution.values import Act, Command, Effect, FileAct, HostPath, MakeFolder, PutFile, PutLink, PutTree, Remove, Touch
from manor.operations.fencing import admit
from manor.operations.step import Here, Holds, Step
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


@dataclass(frozen=True)
class HostStep(Step[Site]):
    """A step on one host; done again, it does the same."""

    host: str

    async def observe(self, ports: Site, here: Here) -> Holds:
        """Doing it again is harmless."""
        return Holds.pre()


class Manifest(BaseModel):
    """What a host remembers of whose it is."""

    model_config = ConfigDict(frozen=True)
    state: str


async def fence(host: DesiredHost, runner: Runner, state_id: str, lease: str, token: int) -> None:
    """Record a token on the host: a file a lease, so that operations under different leases don't overwrite each other. Raises FencedOff, Refused."""
    path = host.layout.manifest
    text = (await runner.read([path])).get(path)
    manifest = Manifest.model_validate_json(text) if text else Manifest(state=state_id)
    if manifest.state != state_id:
        raise Refused(f"{host.name}: {path} says that another Manor ({manifest.state}) has charge of this host; take it over with that one, or remove the file")
    seen = await tokens_seen(host, runner)
    now = admit(seen, lease, token)
    acts = [] if text else [PutFile(path, manifest.model_dump_json(indent=1).encode() + b"\n", 0o600)]
    acts += [PutFile(host.layout.token(lease), f"{token}\n".encode(), 0o600)] if now != seen else []
    await runner.change(with_parents(acts))


async def tokens_seen(host: DesiredHost, runner: Runner) -> dict[str, int]:
    """Return the newest token of each lease that a host has seen."""
    folder = host.layout.token("any").parent
    texts = await runner.read([folder / name for name in await runner.listing(folder)])
    return {path.name.replace("+", "/"): int(text) for path, text in texts.items()}


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
