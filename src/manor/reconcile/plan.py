"""The plan: what differs between what is declared and what is there, as values, with a hash.

Invariant: pure. The hash covers what is declared, what was found in managed files and definitions, versions and slots; never health, counters, pids, times.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from manor.execution.values import HostPath
from manor.integrations.supervisors.base import ProgramStatus
from manor.observe.hosts import ObservedHost
from manor.reconcile.desired import DesiredFile, DesiredHost, DesiredTier, definitions_of
from manor.reconcile.due import mark_of

ABSENT = "absent"
NOT_YET = "not yet"
"""What somebody else's program has taken over of ours, before it was told the first time."""
SUPERVISOR_MARK = "supervisor"
"""Under this key a host keeps which definitions its supervisor has taken over."""


class Action(StrEnum):
    """What is to be done with one thing."""

    CREATE = "create"
    REPLACE = "replace"
    DELETE = "delete"
    START = "start"
    RELOAD = "reload"
    RESTART = "restart"
    UPDATE = "update"
    STOP = "stop"


@dataclass(frozen=True)
class Change:
    """One entry of a plan."""

    host: str
    subject: str
    action: Action
    what: str
    before: str = ABSENT
    after: str = ABSENT
    diff: str = ""
    is_destructive: bool = False


@dataclass(frozen=True)
class Plan:
    """Everything that is to be done in one environment."""

    environment: str
    estate_digest: str
    changes: tuple[Change, ...]
    unreachable: tuple[tuple[str, str], ...] = ()
    """Host and why."""
    versions: Mapping[str, str] = field(default_factory=dict)
    hash: str = ""
    roots: Mapping[str, str] = field(default_factory=dict)
    """Host → the folder below which its files are."""
    risks: tuple[str, ...] = ()
    """What might not work of it, a line each; no part of the hash."""

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing to do."""
        return not self.changes


@dataclass(frozen=True)
class Observed:
    """An environment as it is: its hosts, the tools' versions, and which release each slot has."""

    hosts: Mapping[str, ObservedHost]
    texts: Mapping[tuple[str, HostPath], bytes] = field(default_factory=dict)
    """Contents of files that differ, for the diff, by host and path."""
    versions: Mapping[str, str] = field(default_factory=dict)
    slots: Mapping[str, str] = field(default_factory=dict)
    """`<instance>/<slot>` → release and traffic."""
    untold: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """(host, tier key) → where a balancer that keeps no file of ours does otherwise than is remembered, in words."""


def plan_environment(environment: str, estate_digest: str, desired: Iterable[DesiredHost], observed: Observed) -> Plan:
    """Return what has to change, host by host."""
    hosts = tuple(desired)
    reached = [host for host in hosts if not observed.hosts[host.name].unreachable]
    changes = tuple(change for host in reached for change in plan_host(host, observed))
    unreachable = tuple((host.name, observed.hosts[host.name].unreachable) for host in hosts if host not in reached)
    roots = {host.name: str(host.layout.root) for host in hosts}
    return Plan(environment, estate_digest, changes, unreachable, dict(observed.versions), plan_hash(environment, estate_digest, hosts, observed), roots)


def plan_host(host: DesiredHost, observed: Observed) -> tuple[Change, ...]:
    """Return what has to change on one host."""
    found = observed.hosts[host.name]
    files = tuple(change for file in host.files for change in plan_file(host.name, file, found, observed))
    strays = tuple(Change(host.name, "host", Action.DELETE, str(path), before=found.digests.get(path, "file")) for path in found.strays)
    told = tuple(change for tier in host.tiers for change in plan_told(host, tier, observed))
    return (*files, *strays, *plan_processes(host, found), *told)


def plan_told(host: DesiredHost, tier: DesiredTier, observed: Observed) -> tuple[Change, ...]:
    """Return that a balancer has to be told again which servers take traffic."""
    untold = observed.untold.get((host.name, tier.node.key), ())
    if not untold:
        return ()
    return (Change(host.name, tier.node.subject, Action.UPDATE, tier.node.key, before="forgotten", after="as remembered", diff="\n".join(untold)),)


def plan_file(host: str, file: DesiredFile, found: ObservedHost, observed: Observed) -> tuple[Change, ...]:
    """Return the change of one file, if it needs one."""
    before = found.digests.get(file.path, ABSENT)
    if before == file.digest:
        return ()
    action = Action.CREATE if before == ABSENT else Action.REPLACE
    return (Change(host, file.subject, action, str(file.path), before, file.digest, diff_of(file, observed.texts.get((host, file.path)))),)


def diff_of(file: DesiredFile, before: bytes | None) -> str:
    """Return a unified diff for people; a secret's is only said to differ."""
    if file.is_secret:
        return "(secret)"
    if before is None:
        return ""
    lines = difflib.unified_diff(as_lines(before), as_lines(file.content), "there", "declared", lineterm="", n=2)
    return "\n".join(lines)


def as_lines(content: bytes) -> list[str]:
    """Return a file's lines, as far as they are text."""
    return content.decode("utf-8", "replace").splitlines()


def plan_processes(host: DesiredHost, found: ObservedHost) -> tuple[Change, ...]:
    """Return which programs have to start, reload or take a new definition."""
    loaded = tuple(change for tier in host.tiers for change in plan_loaded(host, tier, found))
    if found.programs is None:
        parts = tuple(change for change in loaded if change.before == NOT_YET)
        return (Change(host.name, "host", Action.START, host.supervisor.name), *starts(host, found), *parts)
    known = {view.name for view in found.programs}
    wanted = {program.name for program in host.supervised.programs}
    gone = tuple(Change(host.name, "host", Action.STOP, name, is_destructive=True) for name in sorted(known - wanted))
    return (*gone, *starts(host, found), *plan_definitions(host, found), *loaded)


def plan_definitions(host: DesiredHost, found: ObservedHost) -> tuple[Change, ...]:
    """Return the programs whose definition the supervisor has not taken over; a running slot's waits for its rollout."""
    text = found.texts.get(host.layout.loaded(SUPERVISOR_MARK))
    taken: Mapping[str, str] = json.loads(text) if text else {}
    running = {view.name for view in found.programs or () if view.status is ProgramStatus.RUNNING}
    waits = {program.name for program in host.supervised.programs if program.wanted is not None and program.name in running}
    wanted = definitions_of(host)
    stale = [name for name in sorted(wanted) if name in taken and taken[name] != wanted[name] and name not in waits]
    return tuple(Change(host.name, "host", Action.UPDATE, name, before=taken[name], after=wanted[name]) for name in stale)


def starts(host: DesiredHost, found: ObservedHost) -> tuple[Change, ...]:
    """Return the tiers' programs that do not run."""
    running = {view.name for view in found.programs or () if view.status in {ProgramStatus.RUNNING, ProgramStatus.STARTING}}
    return tuple(
        Change(host.name, program.subject, Action.START, program.name)
        for program in host.supervised.programs
        if program.wanted is None and program.name not in running
    )


def plan_loaded(host: DesiredHost, tier: DesiredTier, found: ObservedHost) -> tuple[Change, ...]:
    """Return the reload of a tier whose process has not taken over the declared files, or the restart that is due."""
    loaded = found.texts.get(host.layout.loaded(tier.node.key), b"").decode().strip()
    is_part = tier.node.theirs is not None
    if mark_of(host, tier) in found.texts:
        return (Change(host.name, tier.node.subject, Action.RESTART, tier.node.key, before="a restart is due", after=tier.digest),)
    if loaded == tier.digest or not (loaded or is_part) or not tier.node.has_files:
        return ()
    return (Change(host.name, tier.node.subject, Action.RELOAD, tier.node.key, before=loaded or NOT_YET, after=tier.digest),)


def plan_hash(environment: str, estate_digest: str, hosts: Iterable[DesiredHost], observed: Observed) -> str:
    """Return sha256 over declaration and snapshot, hex."""
    snapshot = {
        "environment": environment,
        "estate": estate_digest,
        "declared": {host.name: {str(file.path): file.digest for file in host.files} for host in hosts},
        "found": {name: found_part(host) for name, host in observed.hosts.items()},
        "versions": dict(observed.versions),
        "slots": dict(observed.slots),
        **({"untold": {"/".join(at): told for at, told in observed.untold.items()}} if observed.untold else {}),
    }
    return hashlib.sha256(json.dumps(snapshot, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def found_part(host: ObservedHost) -> dict[str, object]:
    """Return what of a host's state the hash covers."""
    return {
        "files": {str(path): digest for path, digest in host.digests.items()},
        "strays": [str(path) for path in host.strays],
        "loaded": {str(path): text.decode("utf-8", "replace") for path, text in host.texts.items()},
    }
