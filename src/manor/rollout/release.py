"""A release: artifact + configuration + rules, named by what it consists of; and what a slot gets of it.

Invariant: pure. The same artifact with the same configuration is the same release, in every environment that declares it alike.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from manor.errors import InvalidEstate
from manor.estate.layout import HostLayout, short
from manor.estate.model import Limits, Service
from manor.estate.placeholders import fill
from manor.estate.ports import slot_ports
from manor.estate.units import CONTROL, VARIABLE, format_size
from manor.execution.values import Effect, FileAct, HostPath, MakeFolder, PutFile, PutLink, PutTree, Remove, Touch

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Parts(BaseModel):
    """What of a manifest a slot's program depends on."""

    model_config = ConfigDict(frozen=True)
    command: str
    env: dict[str, str]
    limits: Limits


@dataclass(frozen=True)
class Release:
    """What a slot is given."""

    service: str
    artifact: str
    """sha256 of the artifact."""
    manifest: str
    """Canonical JSON: artifact, command, environment, limits, static and shared folders."""

    @property
    def id(self) -> str:
        """The release's name: sha256 of its manifest, hex."""
        return hashlib.sha256(self.manifest.encode()).hexdigest()

    def configured(self, service: Service) -> Service:
        """Return the declared service with the command, environment and limits that this release was made with."""
        if service.run is None:
            return service
        parts = Parts.model_validate_json(self.manifest)
        return service.model_copy(update={"run": service.run.model_copy(update={"command": parts.command, "env": parts.env, "limits": parts.limits})})

    @property
    def short(self) -> str:
        """The 12 digits that people see, and that name its folder."""
        return short(self.id)


@dataclass(frozen=True)
class Where:
    """The slot that a release is put into."""

    environment: str
    host: str
    address: str
    slot: str
    layout: HostLayout


def make_release(name: str, service: Service, artifact: str) -> Release:
    """Return the release of an artifact (sha256, hex) under a service's present configuration."""
    run = service.run
    parts = {
        "manifest": 1,
        "service": name,
        "artifact": artifact,
        "profile": service.profile,
        "command": run.command if run else "",
        "env": dict(sorted(run.env.items())) if run else {},
        "limits": limits_part(run.limits) if run else {},
        "static": [part.model_dump() for part in service.static],
        "shared": sorted(service.shared),
    }
    return Release(name, artifact, json.dumps(parts, sort_keys=True, separators=(",", ":")))


def limits_part(limits: Limits) -> dict[str, object]:
    """Return limits as a person writes them."""
    return {"memory": format_size(limits.memory) if limits.memory else None, "files": limits.files}


def unpack_act(release: Release, where: Where, archive: str) -> PutTree:
    """Return the act that brings a release to a host."""
    return PutTree(where.layout.release(release.service, release.short), archive, release.artifact, touch_of(release.service))


def shared_places(release: Release, service: Service, where: Where) -> tuple[HostPath, ...]:
    """Return where in an unpacked release the folders that survive releases are linked."""
    tree = where.layout.release(release.service, release.short)
    return tuple(tree / folder for folder in sorted(service.shared))


def slot_acts(release: Release, service: Service, where: Where, in_the_way: Iterable[HostPath] = ()) -> tuple[FileAct, ...]:
    """Return the acts that put an unpacked release into a slot; the slot's link comes last, so a half-done one is never used.

    `in_the_way` are files and folders of the artifact at the places of shared ones: they make room. A link is exchanged, not removed: the
    other slot may run by it.
    """
    name, layout, slot = release.service, where.layout, where.slot
    tree, touch = layout.release(name, release.short), touch_of(name)
    return (
        *(Remove(place, touch) for place in in_the_way),
        *(act for folder in sorted(service.shared) for act in shared_acts(layout, name, tree, folder, touch)),
        PutFile(layout.slot_env(name, slot), render_env(slot_env(release, service, where)), 0o600, touch),
        PutFile(layout.slot_start(name, slot), render_start(service, where), 0o755, touch),
        PutLink(layout.slot(name, slot), tree, touch),
    )


def touch_of(name: str) -> Touch:
    """Return whose the acts on a service's files are."""
    return Touch(subject=f"service/{name}", effect=Effect.INCLUDE)


def shared_acts(layout: HostLayout, name: str, tree: HostPath, folder: str, touch: Touch) -> tuple[FileAct, ...]:
    """Return the acts that link a folder which survives releases into a release."""
    kept = layout.shared(name) / folder
    return (MakeFolder(kept, touch=touch), MakeFolder((tree / folder).parent, touch=touch), PutLink(tree / folder, kept, touch))


def slot_env(release: Release, service: Service, where: Where) -> Mapping[str, str]:
    """Return the environment of a slot's program: ours, then the declared one."""
    slot = where.layout.slot(release.service, where.slot)
    ours = {
        "HOME": str(where.layout.shared(release.service)),
        "LANG": "C.UTF-8",
        "MANOR_ADDRESS": where.address,
        "MANOR_ENVIRONMENT": where.environment,
        "MANOR_HOST": where.host,
        "MANOR_PORT": str(port_of(service, where.slot)),
        "MANOR_RELEASE": release.short,
        "MANOR_SERVICE": release.service,
        "MANOR_SLOT": where.slot,
        "PATH": f"{slot}/bin:{SYSTEM_PATH}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f"{slot}/lib:{slot}",
        "PYTHONUNBUFFERED": "1",
    }
    return {**ours, **(service.run.env if service.run else {})}


def port_of(service: Service, slot: str) -> int:
    """Return the port of a service's program in a slot."""
    return slot_ports(service)[0 if slot == "a" else 1]


def render_env(env: Mapping[str, str]) -> bytes:
    """Return the file that the wrapper reads: `KEY=value` lines, values verbatim.

    Raises InvalidEstate for a name or value that would make lines of its own.
    """
    wrong = [key for key, value in env.items() if not VARIABLE.fullmatch(key) or CONTROL.search(value)]
    if wrong:
        raise InvalidEstate([f"run.env.{key!r}: the name or value holds a control character; write it as one line" for key in sorted(wrong)])
    return "".join(f"{key}={value}\n" for key, value in sorted(env.items())).encode()


def parse_env(text: bytes) -> dict[str, str]:
    """Return what `render_env` wrote."""
    pairs = (line.partition("=") for line in text.decode().split("\n"))
    return {key: value for key, found, value in pairs if found}


def render_start(service: Service, where: Where) -> bytes:
    """Return the script that sets the limits and becomes the program."""
    run = service.run
    if run is None:
        return b"#!/bin/sh\n# served by the web tier; there is no program\nexit 0\n"
    words = command_words(run.command, where.address, port_of(service, where.slot))
    memory = f"ulimit -v {run.limits.memory // 1024}\n" if run.limits.memory else ""
    files = f"ulimit -n {run.limits.files}\n" if run.limits.files else ""
    return f"#!/bin/sh\nset -e\n{memory}{files}exec {shlex.join(words)}\n".encode()


def command_words(command: str, address: str, port: int) -> list[str]:
    """Return a command's words with `{address}` and `{port}` replaced, and `{{word}}` as `{word}`."""
    return [fill(word, {"address": address, "port": str(port)}) for word in shlex.split(command)]
