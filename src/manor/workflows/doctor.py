"""Looks for what is missing on this machine, and names the command that mends each.

Invariant: changes nothing; it opens the estate's state only if there is one.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shlex
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from manor.errors import ApplyFailed, ManorError
from manor.estate.model import Estate
from manor.estate.units import counted
from manor.execution.guard import Guard
from manor.execution.instances import RunningInstance, running_instances
from manor.execution.local import LocalRunner
from manor.execution.machine import Machine, can_bind
from manor.execution.values import Command
from manor.integrations.proxies.base import Proxy
from manor.observe.hosts import observe_programs
from manor.reconcile.parts import part_problem
from manor.reconcile.site import Site
from manor.registry import product, products
from manor.state import places
from manor.workflows.applying import question_of
from manor.workflows.context import Context

FREE_BYTES = 1024**3
OPEN_FILES = 4096
NETWORK_PROBE = "127.199.255.1"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    is_well: bool
    detail: str
    mend: str = ""
    """The command that mends it."""


async def examine(estate: Estate | None, folder: Path | None, context: Context | None) -> list[Finding]:
    """Return everything that was looked at; without an estate what any estate needs."""
    machine = context.machine if context else Machine()
    found = [
        *await examine_programs(used_products(estate)),
        examine_files_limit(resource.getrlimit(resource.RLIMIT_NOFILE)),
        examine_loopback(),
        examine_address_file(machine),
    ]
    found += examine_place(folder) if folder is not None else ()
    if context is not None:
        sites = [context.site(name) for name in await places_up(context)]
        answering = await supervisors_answering(sites)
        found += [*examine_supervisors(sites, answering), *examine_ports(sites, answering)]
        found += [finding for site in sites for finding in await examine_parts(site)]
        found += examine_instances(running_instances(), sites, context.store.folder.hosts)
    return found


def used_products(estate: Estate | None) -> list[str]:
    """Return the tiers' products that an estate uses, sorted; without one, all that are known."""
    if estate is None:
        return list(products("proxies"))
    return sorted({tier.product for environment in estate.environments.values() for tier in environment.traffic.chain})


async def examine_programs(names: Iterable[str]) -> list[Finding]:
    """Return the version of each tier's program, and of git, or how it is installed."""
    runner = LocalRunner("doctor", Guard("doctor"))
    proxies: list[Proxy] = [product("proxies", name) for name in names]
    found = await asyncio.gather(*(examine_program(runner, proxy) for proxy in proxies), examine_git(runner))
    return list(found)


async def examine_program(runner: LocalRunner, proxy: Proxy) -> Finding:
    """Return how one tier's program stands."""
    try:
        version = proxy.parse_version(await runner.run(proxy.version()))
    except (ManorError, ValueError) as error:
        return Finding(proxy.name, False, first_line(error), proxy.install or f"apt-get install --no-install-recommends {proxy.name}")
    return Finding(proxy.name, True, version)


async def examine_git(runner: LocalRunner) -> Finding:
    """Return how git stands."""
    try:
        answer = await runner.run(Command(("git", "--version")))
    except ManorError as error:
        return Finding("git", False, first_line(error), "apt-get install --no-install-recommends git")
    return Finding("git", True, answer.text.strip().removeprefix("git version "))


def first_line(error: Exception) -> str:
    """Return the first line of what went wrong."""
    return (str(error).splitlines() or ["does not run"])[0]


def examine_files_limit(limits: tuple[int, int]) -> Finding:
    """Return whether tiers may open enough files: two a connection."""
    soft, hard = (OPEN_FILES if value == resource.RLIM_INFINITY else value for value in limits)
    if min(soft, hard) >= OPEN_FILES:
        return Finding("open files", True, f"{soft:,}")
    mend = f"ulimit -n {OPEN_FILES}" if hard >= OPEN_FILES else f"echo '* - nofile {OPEN_FILES}' > /etc/security/limits.d/manor.conf   # then log in again"
    return Finding("open files", False, f"only {soft:,} (hard limit {hard:,}); a tier needs two a connection, {OPEN_FILES:,} at least", mend)


def examine_loopback() -> Finding:
    """Return whether every address in 127.0.0.0/8 is this machine's, as on Linux."""
    if can_bind(NETWORK_PROBE, 0):
        return Finding("local addresses", True, "127.0.0.0/8 can be bound")
    return Finding("local addresses", False, f"{NETWORK_PROBE} cannot be bound; local hosts need 127.0.0.0/8", "ip address add 127.0.0.1/8 dev lo")


def examine_address_file(machine: Machine) -> Finding:
    """Return whether the machine-wide address file can be read and written."""
    file = machine.file
    try:
        claims = machine.claims
    except (OSError, ApplyFailed) as error:
        return Finding("address file", False, f"{file} can't be read: {error}", f"rm {quoted(file)}   # each estate claims anew with `manor up`")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        return Finding("address file", False, f"{file} can't be written", f"sudo chmod 666 {quoted(file)}")
    return Finding("address file", True, f"{file}: {counted(len(claims), 'estate')} with addresses on this machine")


def examine_place(folder: Path) -> Iterator[Finding]:
    """Yield how the state folder stands, if there is one already."""
    if folder.exists():
        yield from examine_folder(folder)
        yield examine_disk(folder)


def examine_folder(folder: Path) -> Iterator[Finding]:
    """Yield whether the state folder and its database are ours alone."""
    database = folder / "state.db"
    parts = [(folder, 0o700), *([(database, 0o600)] if database.exists() else [])]
    for path, mode in parts:
        status = path.stat()
        if status.st_uid != os.geteuid():
            yield Finding("state folder", False, f"{path} belongs to user {status.st_uid}", f"sudo chown -R {os.geteuid()} {quoted(path)}")
        elif stat.S_IMODE(status.st_mode) & ~mode:
            found = stat.S_IMODE(status.st_mode)
            yield Finding("state folder", False, f"{path} has mode {found:04o}: others can get at it", f"chmod {mode:04o} {quoted(path)}")
        else:
            yield Finding("state folder", True, f"{path} is ours alone")


def examine_disk(folder: Path) -> Finding:
    """Return whether there is room where the state is."""
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1024**3:.1f} GiB free at {folder}"
    if free >= FREE_BYTES:
        return Finding("disk", True, detail)
    return Finding("disk", False, f"{detail}; below 1 GiB rollouts may fail", f"du -xh --max-depth=2 {quoted(folder)} | sort -h | tail -n 20")


async def places_up(context: Context) -> list[str]:
    """Return the declared environments that have a place on this machine: those that `up` was told to bring up."""
    known = {place.name for place in await context.store.read(places.environments)}
    return [name for name in context.estate.environments if name in known and (context.store.folder.hosts / name).exists()]


async def supervisors_answering(sites: Sequence[Site]) -> set[str]:
    """Return the root folders of hosts whose supervisor answers."""
    asked = [(host, site.runners[host.name]) for site in sites for host in site.hosts.values()]
    views = await asyncio.gather(*(observe_programs(question_of(host), runner) for host, runner in asked))
    return {str(host.layout.root) for (host, _), view in zip(asked, views, strict=True) if view is not None}


def examine_supervisors(sites: Sequence[Site], answering: set[str]) -> Iterator[Finding]:
    """Yield the hosts of environments that are up whose supervisor is gone."""
    for site in sites:
        name = site.wiring.environment.name
        silent = [host.name for host in site.hosts.values() if str(host.layout.root) not in answering]
        if silent:
            yield Finding(f"{name}", False, f"no supervisor answers on {', '.join(silent)}", f"manor up -e {name}")
        else:
            yield Finding(f"{name}", True, f"{counted(len(site.hosts), 'host')} with a supervisor that answers")


async def examine_parts(site: Site) -> list[Finding]:
    """Return how the programs of other people stand that tiers are a part of."""
    found = []
    for host in site.hosts.values():
        for tier in (tier for tier in host.tiers if tier.node.theirs is not None):
            where = f"{site.wiring.environment.name}/{host.name}"
            problem = await part_problem(tier, site.runners[host.name])
            mend = f"manor plan -e {site.wiring.environment.name}   # shows what differs; your program is yours to start"
            found.append(Finding(where, not problem, f"{tier.node.key}: {problem or 'your program works by what is declared'}", mend if problem else ""))
    return found


def examine_ports(sites: Sequence[Site], answering: set[str]) -> Iterator[Finding]:
    """Yield the ports that hosts which are down will need and somebody else has."""
    for site in sites:
        for host in site.hosts.values():
            listeners = {(listener.address, listener.port) for tier in host.tiers for listener in tier.node.listeners}
            taken = sorted(place for place in listeners if str(host.layout.root) not in answering and not can_bind(*place))
            for address, port in taken:
                mend = f"ss -ltnp 'sport = :{port}'   # shows who; end it"
                yield Finding("ports", False, f"{address}:{port}, which {site.wiring.environment.name}/{host.name} needs, is taken", mend)


def examine_instances(found: Iterable[RunningInstance], sites: Sequence[Site], hosts: Path) -> Iterator[Finding]:
    """Yield the programs of ours that nobody keeps any more: their host's folder is gone, or is of no environment that is up."""
    known = {str(host.layout.root) for site in sites for host in site.hosts.values()}
    left = [one for one in found if is_left_over(one, known, hosts)]
    for root in sorted({one.root for one in left}):
        mine = [one for one in left if one.root == root]
        names = ", ".join(sorted({one.program for one in mine}))
        yield Finding("left over", False, f"{names} of {root}, which is no host any more", f"kill {' '.join(str(one.pid) for one in mine)}")


def is_left_over(instance: RunningInstance, known: set[str], hosts: Path) -> bool:
    """Tell whether a program's host is gone: its folder is not there, or it lies below our hosts and is none of them."""
    if instance.root in known:
        return False
    return not Path(instance.root).exists() or Path(instance.root).is_relative_to(hosts)


def quoted(path: Path) -> str:
    """Return a path for a shell."""
    return shlex.quote(str(path))
