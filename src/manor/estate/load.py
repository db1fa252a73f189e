"""Loads an estate: files joined, overlays merged, everything validated, every problem at once (docs/estate.md).

Invariant: returns a valid estate or raises; the result depends on what is declared, not on how it is spread over files.
"""

from __future__ import annotations

import datetime
import gc
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from manor import registry
from manor.errors import InvalidEstate
from manor.estate.chain import Options, Products
from manor.estate.digest import digest_of
from manor.estate.environments import OVERLAYS, Declared, Reader, declare
from manor.estate.model import Environment, Estate, Part
from manor.estate.not_yet import ESTATE
from manor.estate.order import afters, order_environments
from manor.estate.overlays import join, without_nulls
from manor.estate.problems import Finding, Problem, dotted
from manor.estate.rules import check_environments
from manor.estate.rules.context import Context
from manor.estate.rules.removals import check_removed
from manor.estate.source import Mark, Node, SourceError, parse_yaml, read_text
from manor.estate.translate import validate
from manor.estate.units import NAME, Date, Domain, Name

SECTIONS = ("environments", "services", "traffic")
NO_ENVIRONMENT = ""


class EstateHead(Part):
    """What the estate says of itself."""

    manor: Literal[1] = Field(1, description="version of this format")
    estate: Name = Field(description="the estate's name")
    domain: Domain = Field("localhost.example", description="completes names of routes without a dot")
    removed: dict[Name, Date] = Field(default_factory=dict, description="services and hosts that may vanish, and since when")


@dataclass(frozen=True)
class Loaded:
    """An estate together with where each value was written."""

    estate: Estate
    declared: Mapping[str, Declared]

    def mark(self, environment: str, *path: str | int) -> Mark:
        """Return file and line of a value below an environment, e.g. `mark("prod", "services", "shop", "run", "port")`."""
        return self.declared[environment].problem(Finding(path, "")).mark


def load_estate(path: Path, products: Products | None = None, options: Options | None = None, today: datetime.date | None = None) -> Estate:
    """Return the estate of a file and of `estate.d/*.yaml` beside it. Raises InvalidEstate with every problem.

    `products` are the traits of the tiers' products, `options` the types of their own options; by default those of the registry.
    `today` is what dates are judged by; by default the machine's.
    """
    return load_located(path, products, options, today).estate


def load_located(path: Path, products: Products | None = None, options: Options | None = None, today: datetime.date | None = None) -> Loaded:
    """Return the same together with the marks. Raises InvalidEstate."""
    if products is None:
        products, options = traits_of_products(), options_of_products()
    with _collector_paused():
        return resolve(read_files(path), products, options or {}, path.parent, today or datetime.datetime.now(datetime.UTC).date())


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the cyclic collector: a load makes up to millions of values without cycles, and it would walk them again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def traits_of_products() -> Products:
    """Return what each product that the registry finds can do as a tier."""
    return {name: registry.product("proxies", name).traits for name in registry.products("proxies")}


def options_of_products() -> Options:
    """Return the type of each product's own options."""
    return {name: registry.product("proxies", name).options for name in registry.products("proxies")}


def read_files(path: Path) -> Node:
    """Return the joined tree of the file and of `estate.d/*.yaml`. Raises InvalidEstate."""
    parts = sorted((path.parent / "estate.d").glob("*.yaml"))
    problems: list[Problem] = []
    joined: Node | None = None
    for file, name in [(path, path.name), *((part, f"estate.d/{part.name}") for part in parts)]:
        try:
            tree = _without_nulls(parse_yaml(read_text(file, name), name))
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


def resolve(root: Node, products: Products, options: Options, folder: Path, today: datetime.date) -> Loaded:
    """Return the estate of a tree. Raises InvalidEstate. `folder` is where files that it names are."""
    head, problems = _read_head(root)
    order, wrong = order_environments(root)
    problems += wrong
    reader = Reader(products, options, frozenset(named_groups(root)))
    before = set(afters(root).values())
    # Without any environment the estate's own sections are read all the same: what is wrong there is told too.
    declared = {name: declare(root, name) for name in order or (NO_ENVIRONMENT,)}
    environments = {name: found for name in declared if (found := reader.read(declared[name], is_last=name not in before))}
    problems += reader.problems
    contexts = {name: Context(head.domain if head else "", declared[name], products, folder) for name in environments}
    problems += check_environments(environments, declared, contexts)
    problems += check_removed(root, environments, today)
    _raise(problems)
    if head is None:
        raise AssertionError("an estate without a head has problems")
    files = digests_of_files(environments.values(), folder)
    estate = Estate(name=head.estate, domain=head.domain, removed=head.removed, environments=environments, files=files)
    return Loaded(estate.model_copy(update={"digest": digest_of(estate)}), declared)


def digests_of_files(environments: Iterable[Environment], folder: Path) -> dict[str, str]:
    """Return the sha256 of every file that an `extra` names, by its path, sorted."""
    services = {id(service): service for environment in environments for service in environment.services.values()}
    named = {file for service in services.values() for places in service.extra.values() for file in places.values()}
    return {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in sorted(named)}


def problems_to_act(environment: Environment) -> tuple[str, ...]:
    """Return why no verb can act on the environment yet: its hosts that only a connection would reach."""
    return tuple(
        f"environments.{environment.name}.hosts.{host.name}.address: {host.address}: hosts on other machines are not supported yet; "
        "remove the address to have a local host"
        for host in environment.hosts.values()
        if not host.is_local
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
            if isinstance(host.value, int) and NAME.fullmatch(key):
                yield key


def _words(node: Node | None) -> Iterable[str]:
    if node is not None and isinstance(node.value, str) and NAME.fullmatch(node.value):
        yield node.value


def _without_nulls(root: Node) -> Node:
    """Return the tree in which what is `null` is absent, but for overlays, where it deletes; an environment that is `null` is there."""
    environments = root.child("environments")
    if environments is None or not isinstance(environments.value, dict):
        return without_nulls(root)
    kept = {name: _environment_without_nulls(child) for name, child in environments.entries.items()}
    rest = without_nulls(Node({key: child for key, child in root.entries.items() if key != "environments"}, root.mark))
    return Node({**rest.entries, "environments": Node(kept, environments.mark)}, root.mark)


def _environment_without_nulls(node: Node) -> Node:
    if node.value is None:
        return Node({}, node.mark)
    if not isinstance(node.value, dict):
        return node
    own = without_nulls(Node({key: child for key, child in node.entries.items() if key not in OVERLAYS}, node.mark))
    return Node({**own.entries, **{key: child for key, child in node.entries.items() if key in OVERLAYS}}, node.mark)


def _read_head(root: Node) -> tuple[EstateHead | None, list[Problem]]:
    entries = {key: child for key, child in root.entries.items() if key not in SECTIONS}
    head, findings = validate(EstateHead, Node(entries, root.mark), ESTATE, SECTIONS)
    return head, [Problem(root.nearest(finding.path).mark, dotted(finding.path), finding.wrong) for finding in findings]


def _raise(problems: Iterable[Problem]) -> None:
    lines = [str(problem) for problem in sorted(set(problems))]
    if lines:
        raise InvalidEstate(lines)
