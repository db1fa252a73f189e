"""What the products of the chain refuse to render: all of it at once, with file, line and a way out, and nothing asked of the machine.

Invariant: reads the files that `extra` names, and nothing else; local hosts have made-up addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from manor.errors import InvalidEstate
from manor.estate.layout import HostLayout, sockets_folder
from manor.estate.load import Loaded
from manor.estate.model import Environment
from manor.estate.overlays import Path as KeyPath
from manor.estate.ports import front_ports
from manor.estate.problems import Finding, Problem
from manor.estate.rules.ports import one_of_each
from manor.estate.rules.switching import LEFT_ALONE
from manor.estate.topology import TierNode
from manor.estate.wiring import Addressing, HostPlace, Wiring
from manor.execution.machine import NETWORKS
from manor.execution.values import HostPath
from manor.registry import product

NAMED = re.compile(r"(?P<path>(?:services|traffic)(?:\.[^.\[\]:]+|\[[0-9]+\])*): (?P<wrong>.*)", re.DOTALL)
PART = re.compile(r"\.?([^.\[\]]+)|\[([0-9]+)\]")


def refuse_unrendered(loaded: Loaded, file: Path, hosts: Path, environments: Iterable[str]) -> None:
    """Raise InvalidEstate with all that products refuse of these environments. `hosts` is where local hosts have their folders."""
    problems = {problem for name in environments for problem in refusals(loaded, file, hosts, loaded.estate.environments[name])}
    if problems:
        raise InvalidEstate([str(problem) for problem in sorted(problems)])


def refusals(loaded: Loaded, file: Path, hosts: Path, environment: Environment) -> Iterator[Problem]:
    """Yield what the product of each tier refuses; one host stands for all with the same groups."""
    traits = {tier.product: product("proxies", tier.product).traits for tier in environment.traffic.chain}
    wiring = Wiring(loaded.estate, environment, assumed_addressing(environment, hosts), traits, read_extras(file.parent, environment))
    alike = {host.name for host in one_of_each(environment)}
    for node in wiring.nodes():
        if node.host in alike and environment.traffic.chain[node.place].manage not in LEFT_ALONE:
            yield from (loaded.declared[environment.name].problem(finding) for finding in refused(node))


def refused(node: TierNode) -> Iterator[Finding]:
    """Yield what a tier's product refuses, at the key that it names, else at the tier."""
    try:
        product("proxies", node.product).render(node)
    except InvalidEstate as error:
        for text in error.problems:
            found = NAMED.fullmatch(text)
            yield Finding(key_path(found["path"]), found["wrong"]) if found else Finding(("traffic", "chain", node.place), text)


def key_path(text: str) -> KeyPath:
    """Return the path of e.g. `services.shop.redirects[0].to`."""
    return tuple(int(number) if number else word for word, number in PART.findall(text))


def read_extras(folder: Path, environment: Environment) -> Mapping[str, bytes]:
    """Return the files that `extra` names. Raises InvalidEstate if one vanished after the estate was validated."""
    named = {path for service in environment.services.values() for parts in service.extra.values() for path in parts.values()}
    missing = sorted(path for path in named if not (folder / path).is_file())
    if missing:
        raise InvalidEstate([f"{folder}: extra: {path}: there is no such file beside the estate; add it" for path in missing])
    return {path: (folder / path).read_bytes() for path in named}


def assumed_addressing(environment: Environment, hosts: Path) -> Addressing:
    """Return where the hosts would be on a machine with nothing else on it."""
    places = {
        host.name: HostPlace(host.address or f"127.{NETWORKS[0]}.1.{number}", assumed_layout(hosts / environment.name / host.name))
        for number, host in enumerate(environment.hosts.values(), 1)
    }
    is_local = any(host.address is None for host in environment.hosts.values())
    return Addressing(places, front_ports(0) if is_local else None)


def assumed_layout(root: Path) -> HostLayout:
    """Return a host's folders."""
    return HostLayout(HostPath(root), sockets_folder(0, HostPath(root)))
