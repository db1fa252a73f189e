"""Loads an estate: files joined, overlays merged, everything validated, every problem at once (docs/estate.md).

Invariant: returns a valid estate or raises; the result depends on what is declared, not on how it is spread over files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from manor import registry
from manor.errors import InvalidEstate
from manor.estate.chain import Products
from manor.estate.digest import digest_of
from manor.estate.environments import Declared, Reader, declare
from manor.estate.model import Environment, Estate, Part
from manor.estate.not_yet import ESTATE
from manor.estate.order import order_environments
from manor.estate.overlays import join, without_nulls
from manor.estate.problems import Finding, Problem, dotted
from manor.estate.rules import check_environments
from manor.estate.source import Mark, Node, SourceError, parse_yaml, read_text
from manor.estate.translate import validate
from manor.estate.units import Date, Name

SECTIONS = ("environments", "services", "traffic")


class EstateHead(Part):
    """What the estate says of itself."""

    manor: Literal[1] = Field(1, description="version of this format")
    estate: Name = Field(description="the estate's name")
    domain: str = Field("localhost.example", pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", max_length=200)
    removed: dict[Name, Date] = Field(default_factory=dict, description="services and hosts that may vanish, and since when")


@dataclass(frozen=True)
class Loaded:
    """An estate together with where each value was written."""

    estate: Estate
    declared: Mapping[str, Declared]

    def mark(self, environment: str, *path: str | int) -> Mark:
        """Return file and line of a value below an environment, e.g. `mark("prod", "services", "shop", "run", "port")`."""
        return self.declared[environment].problem(Finding(path, "")).mark


def load_estate(path: Path, products: Products | None = None) -> Estate:
    """Return the estate of a file and of `estate.d/*.yaml` beside it. Raises InvalidEstate with every problem.

    `products` are the traits of the tiers' products; by default those of the registry.
    """
    return load_located(path, products).estate


def load_located(path: Path, products: Products | None = None) -> Loaded:
    """Return the same together with the marks. Raises InvalidEstate."""
    return resolve(read_files(path), traits_of_products() if products is None else products, path.parent)


def traits_of_products() -> Products:
    """Return what each product that the registry finds can do as a tier."""
    return {name: registry.product("proxies", name).traits for name in registry.products("proxies")}


def read_files(path: Path) -> Node:
    """Return the joined tree of the file and of `estate.d/*.yaml`. Raises InvalidEstate."""
    parts = sorted((path.parent / "estate.d").glob("*.yaml"))
    problems: list[Problem] = []
    joined: Node | None = None
    for file, name in [(path, path.name), *((part, f"estate.d/{part.name}") for part in parts)]:
        try:
            tree = without_nulls(_keep_empty_environments(parse_yaml(read_text(file, name), name)))
        except SourceError as error:
            problems.append(Problem(error.mark, "", error.wrong))
            continue
        if not isinstance(tree.value, dict):
            problems.append(Problem(tree.mark, "", "not a mapping; begin with estate: NAME"))
            continue
        joined, twice = join(joined, tree) if joined else (tree, [])
        problems += [Problem(both.second.mark, dotted(both.path), f"already declared at {both.first.mark}; keep one of them") for both in twice]
    _raise(problems)
    return joined or Node({}, Mark(path.name, 1))


def resolve(root: Node, products: Products, folder: Path) -> Loaded:
    """Return the estate of a tree. Raises InvalidEstate. `folder` is where files that it names are."""
    head, problems = _read_head(root)
    order, wrong = order_environments(root)
    problems += wrong
    reader = Reader(products, frozenset(named_groups(root)))
    before = {after.value for name in order if (after := root.at(("environments", name, "after")))}
    declared = {name: declare(root, name) for name in order}
    environments = {name: found for name in order if (found := reader.read(declared[name], is_last=name not in before))}
    problems += reader.problems
    problems += check_environments(head.domain if head else "", environments, declared, products, folder)
    _raise(problems)
    if head is None:
        raise AssertionError("an estate without a head has problems")
    estate = Estate(name=head.estate, domain=head.domain, removed=head.removed, environments=environments)
    return Loaded(estate.model_copy(update={"digest": digest_of(estate)}), declared)


def problems_to_act(environment: Environment) -> tuple[str, ...]:
    """Return why no verb can act on the environment yet: its hosts that only a connection would reach."""
    return tuple(
        f"environments.{environment.name}.hosts.{host.name}.address: {host.address}: hosts on other machines are not supported yet; "
        "remove the address to have a local host"
        for host in environment.hosts.values()
        if host.address is not None and not host.address.startswith("127.")
    )


def named_groups(root: Node) -> Iterable[str]:
    """Yield every group that the estate names anywhere, and the two that placement defaults to."""
    yield from ("edge", "web")
    environments = [child for _, child in (root.child("environments") or Node({}, root.mark)).entries.items()]
    for section in (root, *environments):
        for service in (section.child("services") or Node({}, root.mark)).entries.values():
            yield from _words(service.at(("place", "on")))
        chain = section.at(("traffic", "chain"))
        for tier in chain.value if chain and isinstance(chain.value, list) else ():
            yield from _words(tier.child("on"))
        for key, host in (section.child("hosts") or Node({}, root.mark)).entries.items():
            groups = host.child("groups")
            for group in groups.value if groups and isinstance(groups.value, list) else ():
                yield from _words(group)
            if isinstance(host.value, int):
                yield key


def _words(node: Node | None) -> Iterable[str]:
    if node is not None and isinstance(node.value, str):
        yield node.value


def _keep_empty_environments(root: Node) -> Node:
    """`dev:` with nothing after it is an environment as well as `dev: {}`."""
    environments = root.child("environments")
    for child in environments.entries.values() if environments else ():
        if child.value is None:
            child.value = {}
    return root


def _read_head(root: Node) -> tuple[EstateHead | None, list[Problem]]:
    entries = {key: child for key, child in root.entries.items() if key not in SECTIONS}
    head, findings = validate(EstateHead, Node(entries, root.mark), ESTATE, SECTIONS)
    return head, [Problem(root.nearest(finding.path).mark, dotted(finding.path), finding.wrong) for finding in findings]


def _raise(problems: Iterable[Problem]) -> None:
    lines = [str(problem) for problem in sorted(set(problems))]
    if lines:
        raise InvalidEstate(lines)
