"""What is to be on each host: files, tiers and programs, rendered from the wiring.

Invariant: pure and without slot state; which release runs where is the rollout's matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files as resources

from manor.estate.layout import HostLayout, slot_program
from manor.estate.model import Service
from manor.estate.topology import ServiceView, TierNode
from manor.estate.wiring import Wiring, slots_of
from manor.execution.values import HostPath
from manor.integrations.proxies.base import Proxy, RenderedFile, TierProgram
from manor.integrations.supervisors.base import Program, SupervisedHost, Supervisor
from manor.reconcile.handbook import render_handbook
from manor.registry import default_product, product

PAGES = ("404.html", "503.html", "maintenance.html")


@dataclass(frozen=True)
class DesiredFile:
    """A file to be on a host."""

    path: HostPath
    content: bytes = field(repr=False)
    mode: int = 0o644
    subject: str = "host"
    is_secret: bool = False

    @property
    def digest(self) -> str:
        """Return sha256 of the content, hex."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class DesiredTier:
    """A tier on a host with its files."""

    node: TierNode
    proxy: Proxy
    files: tuple[DesiredFile, ...]
    digest: str
    """sha256 over its files and what they refer to (certificate, pages): what a running process must have loaded."""

    @property
    def programs(self) -> tuple[TierProgram, ...]:
        """Return the processes that run its files; none of ours where it is a part of a program that somebody else runs."""
        return self.proxy.programs(self.node) if self.node.theirs is None else ()

    @property
    def own_path(self) -> HostPath | None:
        """Return our file in somebody else's folder; None in a program of our own, and where Manor writes no file."""
        theirs = self.node.theirs
        if theirs is None or theirs.into is None or self.proxy.part is None or not self.node.has_files:
            return None
        return theirs.into / self.proxy.part.own_file(self.node)

    @property
    def paths(self) -> Mapping[str, HostPath]:
        """Return where each of its files lies, by name."""
        return {file.path.name: file.path for file in self.files}

    def rebased(self, folder: HostPath) -> TierNode:
        """Return its node with its files in another folder."""
        return replace(self.node, folders=self.node.folders.staged(folder))


@dataclass(frozen=True)
class DesiredHost:
    """All that is to be on one host."""

    name: str
    layout: HostLayout
    base: tuple[DesiredFile, ...]
    """Wrapper, pages, certificate, handbook: what tiers and programs refer to."""
    tiers: tuple[DesiredTier, ...]
    supervised: SupervisedHost
    supervisor: Supervisor
    supervisor_files: tuple[DesiredFile, ...]
    is_supervised: bool = True
    """Whether Manor may start programs here, under a supervisor of its own."""

    @property
    def files(self) -> tuple[DesiredFile, ...]:
        """Return every file, by path."""
        every = (*self.base, *(file for tier in self.tiers for file in tier.files), *self.supervisor_files)
        return tuple(sorted(every, key=lambda file: file.path))

    @property
    def beside(self) -> tuple[HostPath, ...]:
        """Return our files in other people's folders."""
        return tuple(path for tier in self.tiers if (path := tier.own_path) is not None)

    @property
    def folders(self) -> tuple[HostPath, ...]:
        """Return the folders whose every file is ours: others in them are strays."""
        own = (self.layout.supervisor,) if self.is_supervised else ()
        return (self.layout.pages, *own, *(tier.node.folders.etc for tier in self.tiers))


@dataclass(frozen=True)
class Material:
    """What is made once and then given: certificates by host of the first tier, and the wrapper."""

    wrapper: bytes
    certificates: Mapping[str, bytes]
    """host → certificate and key in one PEM."""


def desired_hosts(wiring: Wiring, material: Material) -> tuple[DesiredHost, ...]:
    """Return what is to be on each host that Manor may fill, by name."""
    nodes = wiring.nodes()
    supervisor: Supervisor = product("supervisors", default_product("supervisors"))
    wanted = [name for name, host in wiring.environment.hosts.items() if host.manage in ("full", "include")]
    return tuple(desired_host(name, wiring, tuple(node for node in nodes if node.host == name), material, supervisor) for name in sorted(wanted))


def desired_host(name: str, wiring: Wiring, nodes: tuple[TierNode, ...], material: Material, supervisor: Supervisor) -> DesiredHost:
    """Return what is to be on one host."""
    layout = wiring.addressing.hosts[name].layout
    base = base_files(layout, material, name)
    tiers = tuple(desired_tier(node, base) for node in nodes if tier_is_ours(wiring, node))
    is_supervised = wiring.environment.hosts[name].manage == "full"
    programs = sorted((*tier_programs(tiers, layout), *(service_programs(name, wiring, layout) if is_supervised else ())), key=lambda program: program.name)
    supervised = SupervisedHost(wiring.environment.name, name, layout, tuple(programs))
    texts = supervisor.render(supervised) if is_supervised else ()
    rendered = tuple(DesiredFile(layout.supervisor / file.name, file.content, file.mode) for file in texts)
    handbook = DesiredFile(layout.readme, render_handbook(wiring, supervised, nodes))
    return DesiredHost(name, layout, (*base, handbook), tiers, supervised, supervisor, rendered, is_supervised)


def tier_is_ours(wiring: Wiring, node: TierNode) -> bool:
    """Tell whether the node's tier is Manor's to fill, or to take part in."""
    return wiring.environment.traffic.chain[node.place].manage in ("full", "include", "runtime")


def base_files(layout: HostLayout, material: Material, host: str) -> tuple[DesiredFile, ...]:
    """Return the wrapper, our pages and, for a host of the first tier, its certificate."""
    folder = resources("manor.reconcile") / "pages"
    pages = tuple(DesiredFile(layout.pages / name, (folder / name).read_bytes()) for name in PAGES)
    wrapper = DesiredFile(layout.exec, material.wrapper, 0o755)
    both = material.certificates.get(host)
    return (wrapper, *pages, *(certificate_files(layout, both) if both else ()))


def certificate_files(layout: HostLayout, both: bytes) -> tuple[DesiredFile, ...]:
    """Return the certificate in the three shapes that products read."""
    cut = both.index(b"-----BEGIN PRIVATE KEY-----")
    return (
        DesiredFile(layout.tls / "both.pem", both, 0o600, is_secret=True),
        DesiredFile(layout.tls / "certificate.pem", both[:cut], 0o644),
        DesiredFile(layout.tls / "key.pem", both[cut:], 0o600, is_secret=True),
    )


def desired_tier(node: TierNode, base: tuple[DesiredFile, ...]) -> DesiredTier:
    """Return a tier with its rendered files."""
    proxy: Proxy = product("proxies", node.product)
    files = tuple(DesiredFile(place_of(node, proxy, file.name), file.content, file.mode, node.subject) for file in rendered_files(node, proxy))
    referred = tuple(file for file in base if file.path.parent == node.folders.pages or (node.tls and file.path.parent == node.tls.both.parent))
    return DesiredTier(node, proxy, files, digest_of(sorted((*files, *referred), key=lambda file: file.path)))


def rendered_files(node: TierNode, proxy: Proxy) -> tuple[RenderedFile, ...]:
    """Return a tier's files; none where Manor writes none."""
    return proxy.render(node) if node.has_files else ()


def place_of(node: TierNode, proxy: Proxy, name: str) -> HostPath:
    """Return where a file lies: in Manor's folder, but for the one that somebody else's program includes."""
    theirs, part = node.theirs, proxy.part
    is_theirs = theirs is not None and part is not None and name == part.own_file(node)
    return theirs.into / name if theirs and theirs.into and is_theirs else node.folders.etc / name


def digest_of(files: list[DesiredFile]) -> str:
    """Return sha256 over paths, modes and contents."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.path}\0{file.mode:o}\0{file.digest}\n".encode())
    return whole.hexdigest()


def tier_programs(tiers: tuple[DesiredTier, ...], layout: HostLayout) -> tuple[Program, ...]:
    """Return the programs of a host's tiers; the innermost starts first."""
    return tuple(
        Program(
            name=program.name,
            argv=program.argv,
            subject=tier.node.subject,
            log=program.stdout or layout.program_log(program.name),
            cwd=tier.node.folders.run,
            stop_signal=program.stop_signal,
            stop_seconds=program.stop_seconds,
            priority=200 - 10 * tier.node.place + len(program.starts_after),
        )
        for tier in tiers
        for program in tier.programs
    )


def service_programs(host: str, wiring: Wiring, layout: HostLayout) -> tuple[Program, ...]:
    """Return a program for each slot of each service's instance on the host."""
    return tuple(
        slot_definition(view, slot, wiring.environment.services[view.name], layout)
        for view in wiring.services(host)
        if view.has_program
        for slot in slots_of(wiring.environment.services[view.name])
    )


def slot_definition(view: ServiceView, slot: str, service: Service, layout: HostLayout) -> Program:
    """Return the program of a slot: its start script, which comes with the release, under the declared stop rules."""
    name = view.name
    if service.run is None:
        raise ValueError(f"{name} has no program")
    return Program(
        name=slot_program(name, slot),
        argv=("/bin/sh", str(layout.slot_start(name, slot))),
        subject=f"service/{name}",
        log=layout.program_log(slot_program(name, slot)),
        cwd=layout.slot(name, slot),
        env_file=layout.slot_env(name, slot),
        wanted=layout.slot_wanted(name, slot),
        stop_signal=service.run.stop.signal,
        stop_seconds=view.stop_seconds,
    )


def definitions_of(host: DesiredHost) -> Mapping[str, str]:
    """Return a digest of each program's definition: what the supervisor must have taken over."""
    return {program.name: hashlib.sha256(repr(program).encode()).hexdigest() for program in host.supervised.programs}
