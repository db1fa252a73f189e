"""What every verb begins with: the estate, its state folder, and where its hosts are.

Invariant: opening changes nothing on any host; only the state folder and, for local hosts, the machine-wide address file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files as resources
from pathlib import Path

from manor.errors import InvalidEstate, UsageError
from manor.estate.layout import HostLayout, sockets_folder
from manor.estate.load import load_estate, load_located
from manor.estate.model import Environment, Estate, Host
from manor.estate.placement import hosts_of_tier
from manor.estate.ports import front_ports
from manor.estate.topology import ProxyTraits
from manor.estate.wiring import Addressing, HostPlace, Wiring
from manor.execution.base import Runner
from manor.execution.guard import Guard, Manage, Untouchable
from manor.execution.local import LocalRunner
from manor.execution.machine import FRONTS, Machine
from manor.execution.values import HostPath
from manor.reconcile.desired import DesiredHost, Material, desired_hosts
from manor.reconcile.site import Site
from manor.registry import product
from manor.state import places
from manor.state.authority import Authority
from manor.state.leases import lease_name
from manor.state.scratch import open_copy
from manor.state.store import Store
from manor.workflows.refusals import read_extras, refuse_unrendered

STATE_FOLDER = Path(".manor/state")


@dataclass
class Context:
    """An estate that verbs work on."""

    file: Path
    estate: Estate
    store: Store
    machine: Machine = field(default_factory=Machine)

    @property
    def folder(self) -> Path:
        """The state folder."""
        return self.store.folder.path

    @property
    def authority(self) -> Authority:
        """The state folder's own certificate authority."""
        return Authority(self.store.folder.ca, self.estate.name, lambda: datetime.fromtimestamp(self.store.clock.now(), UTC))

    def environment(self, name: str) -> Environment:
        """Return an environment. Raises UsageError if it is not declared."""
        return require_environment(self.estate, name)

    def service(self, name: str) -> str:
        """Return a service's name. Raises UsageError if no environment has it."""
        every = sorted({known for environment in self.estate.environments.values() for known in environment.services})
        if name not in every:
            raise UsageError(f"there is no service {name!r}; there are: {', '.join(every)}")
        return name

    def wiring(self, name: str) -> Wiring:
        """Return an environment with the addresses of its hosts."""
        environment = self.environment(name)
        traits: Mapping[str, ProxyTraits] = {tier.product: product("proxies", tier.product).traits for tier in environment.traffic.chain}
        return Wiring(self.estate, environment, self.addressing(environment), traits, read_extras(self.file.parent, environment))

    def addressing(self, environment: Environment) -> Addressing:
        """Return where an environment's hosts are; local ones get an address that they keep."""
        local = [host for host in environment.hosts.values() if host.address is None]
        front = self._front(environment) if local else None
        kept = {place.host: place.address for place in self.store.read_now(places.hosts, environment.name)}
        hosts = {
            host.name: HostPlace(host.address or kept.get(host.name) or self._address(environment, host), self.layout(environment, host))
            for host in environment.hosts.values()
        }
        return Addressing(hosts, front, runs_as_root=os.geteuid() == 0)

    def _front(self, environment: Environment) -> tuple[int, int]:
        place = self.store.read_now(places.find_environment, environment.name)
        if place is None:
            self.machine.claim_network(self.folder)
            front = self.machine.claim_front(self.folder, tuple(front_ports(number) for number in FRONTS))
            taken = {other.number for other in self.store.read_now(places.environments)}
            number = next((n for n in range(1, 255) if n not in taken), 0)
            if not number:
                raise UsageError("254 environments have a place on this machine, and there is no other; end one that is no longer used with `manor down`")
            place = self.store.write_now(places.keep_environment, places.EnvironmentPlace(environment.name, number, *front_ports(front)))
        return place.http_port, place.https_port

    def _address(self, environment: Environment, host: Host) -> str:
        place = self.store.read_now(places.find_environment, environment.name)
        if place is None:
            raise UsageError(f"{environment.name} has no place on this machine")
        network = self.machine.claim_network(self.folder)
        taken = {entry.address for entry in self.store.read_now(places.hosts, environment.name)}
        address = next((found for last in range(1, 255) if (found := f"127.{network}.{place.number}.{last}") not in taken), "")
        if not address:
            raise UsageError(
                f"every address of {environment.name} on this machine belongs to a host, or did: `manor down -e {environment.name}` gives them back"
            )
        self.store.write_now(places.keep_host, places.HostPlace(environment.name, host.name, address))
        return address

    def layout(self, environment: Environment, host: Host) -> HostLayout:
        """Return where a host's files are."""
        root = HostPath(self.store.folder.hosts / environment.name / host.name)
        return HostLayout(root, sockets_folder(os.geteuid(), root))

    def runner(self, environment: Environment, host: Host, layout: HostLayout, beside: tuple[HostPath, ...] = ()) -> Runner:
        """Return the runner that acts on a host, bound by its ownership; `beside` are our files in other people's folders.

        Raises UsageError for a host that is not local.
        """
        if host.address is not None:
            raise UsageError(f"{environment.name}/{host.name} has an address; acting on hosts over SSH is not supported yet")
        return LocalRunner(f"{environment.name}/{host.name}", guard_of(environment, host, layout, beside), root=layout.root)

    def desired(self, wiring: Wiring) -> dict[str, DesiredHost]:
        """Return what is to be on each host of an environment."""
        wrapper = (resources("manor.execution") / "exec.sh").read_bytes()
        try:
            return {host.name: host for host in desired_hosts(wiring, Material(wrapper, self._certificates(wiring)))}
        except InvalidEstate:
            self.refuse_unrendered([wiring.environment.name])
            raise

    def refuse_unrendered(self, environments: Iterable[str]) -> None:
        """Raise InvalidEstate with all that the tiers' products refuse, each with file and line."""
        refuse_unrendered(load_located(self.file), self.file, self.store.folder.hosts, environments)

    def _certificates(self, wiring: Wiring) -> Mapping[str, bytes]:
        names = {name for view in wiring.services() for route in view.routes for name in route.hosts}
        first = hosts_of_tier(wiring.environment, 0)
        addresses = {wiring.addressing.hosts[host].address for host in first}
        issued = self.authority.issue(wiring.environment.name, names | addresses | {"localhost", "127.0.0.1"})
        return dict.fromkeys(first, issued.both)

    def site(self, name: str, service: str = "") -> Site:
        """Return an environment as operations act on it, under the lease of the environment or of one service in it."""
        wiring = self.wiring(name)
        hosts = self.desired(wiring)
        environment = wiring.environment
        runners = {key: self.runner(environment, environment.hosts[key], host.layout, host.beside) for key, host in hosts.items()}
        return Site(wiring, hosts, runners, self.store, self.store.state_id, lease_name(name, service))


async def has_place(context: Context, name: str) -> bool:
    """Tell whether an environment's local hosts were ever given addresses, i.e. whether it is up; others have theirs from the declaration."""
    is_local = any(host.address is None for host in context.environment(name).hosts.values())
    return not is_local or await context.store.read(places.find_environment, name) is not None


def require_environment(estate: Estate, name: str) -> Environment:
    """Return an environment. Raises UsageError if it is not declared."""
    if name not in estate.environments:
        raise UsageError(f"there is no environment {name!r}; there are: {', '.join(estate.environments)}")
    return estate.environments[name]


def guard_of(environment: Environment, host: Host, layout: HostLayout, beside: tuple[HostPath, ...] = ()) -> Guard:
    """Return what may be done on a host: in other people's folders nothing but the files `beside`."""
    rule = host.untouchable
    untouchable = Untouchable(tuple(map(HostPath, rule.paths)), rule.ports, rule.units, rule.users, rule.containers)
    tiers = {f"tier/{place}-{tier.role}-{tier.product}": Manage[tier.manage.upper()] for place, tier in enumerate(environment.traffic.chain)}
    services = {f"service/{name}": Manage[service.manage.upper()] for name, service in environment.services.items()}
    roots = (layout.root, layout.sockets.parent, *beside)
    return Guard(f"{environment.name}/{host.name}", Manage[host.manage.upper()], {**tiers, **services}, untouchable, roots)


def find_estate(path: Path | None) -> Path:
    """Return the estate file: the one given, or `estate.yaml` here. Raises UsageError if there is none."""
    found = path or Path("estate.yaml")
    found = found / "estate.yaml" if found.is_dir() else found
    if not found.is_file():
        raise UsageError(f"{found}: there is no estate file; name one, or make one with `manor init`")
    return found.resolve()


def state_folder(file: Path) -> Path:
    """Return the state folder of an estate file: MANOR_STATE, or `.manor/state` beside it."""
    named = os.environ.get("MANOR_STATE")
    return Path(named).resolve() if named else file.parent / STATE_FOLDER


@contextmanager
def open_state(file: Path, *, dry_run: bool = False) -> Iterator[tuple[Store, Machine]]:
    """Open the state of an estate file, and what this machine's folders have; for a dry run copies of both, which are thrown away."""
    if not dry_run:
        with Store.open(state_folder(file)) as store:
            yield store, Machine()
        return
    with open_copy(state_folder(file)) as store:
        yield store, Machine().copy_to(store.folder.database.with_name("addresses"))


@contextmanager
def open_context(path: Path | None, *, dry_run: bool = False) -> Iterator[Context]:
    """Open the estate and its state for the body; for a dry run a copy of the state, so that nothing is changed."""
    file = find_estate(path)
    estate = load_estate(file)
    with open_state(file, dry_run=dry_run) as (store, machine):
        yield Context(file, estate, store, machine)
