"""Resolves environments: overlays merged, hosts named, services and chain read (docs/estate.md, environments).

Invariant: pure; what several environments share is read once and is the same object in each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from manor.estate.chain import Options, Products, default_traffic, read_traffic
from manor.estate.hosts import read_hosts
from manor.estate.model import Environment, Part, Service, Traffic
from manor.estate.not_yet import ENVIRONMENT
from manor.estate.overlays import Path, merge
from manor.estate.problems import Finding, Problem, dotted
from manor.estate.services import read_service
from manor.estate.source import Node
from manor.estate.translate import validate
from manor.estate.units import NAME, Name

OVERLAYS = ("services", "traffic")


def parse_reason(value: object) -> str:
    """Return a reason that says something. Raises ValueError."""
    if isinstance(value, str) and value.strip():
        return value
    raise ValueError("no reason; write in a few words why it differs")


Reason = Annotated[str, BeforeValidator(parse_reason), WithJsonSchema({"type": "string", "minLength": 1})]


class EnvironmentHead(Part):
    """What an environment says of itself."""

    after: Name | None = Field(None, description="the environment that a release must have passed first")
    promote: Literal["automatic", "by_hand"] = Field("automatic", description="whether a release certified before goes on by itself")
    gates: tuple[Literal["tests"], ...] = Field((), description="what must hold before a release may enter")
    differences: dict[str, Reason] = Field(default_factory=dict, description="what differs from the other environments, and why")


@dataclass(frozen=True)
class Declared:
    """One environment as it is written, with marks: the estate's own sections, its overlay, and both merged."""

    name: str
    base: Node
    own: Node
    merged: Node

    def problem(self, finding: Finding) -> Problem:
        """Return a finding below the environment with the place where it was written."""
        own, base = _depth(self.own, finding.path), _depth(self.base, finding.path) if finding.path[:1] and finding.path[0] in OVERLAYS else 0
        if own > base or base == 0 or own == len(finding.path):
            return Problem(self.own.nearest(finding.path).mark, dotted(("environments", self.name, *finding.path)), finding.wrong)
        return Problem(self.base.nearest(finding.path).mark, dotted(finding.path), finding.wrong)


def declare(root: Node, name: str) -> Declared:
    """Return an environment's declaration with the sections that it overlays."""
    own = root.at(("environments", name)) or Node({}, root.mark)
    merged = {}
    for section in OVERLAYS:
        base, over = root.child(section), own.child(section)
        both = base if over is None else merge(base or Node({}, over.mark), over)
        if both is not None and both.value is not None:
            merged[section] = both
    return Declared(name, root, own, Node(merged, own.mark))


@dataclass
class Reader:
    """Reads environments; remembers what it has read by the identity of the merged value."""

    products: Products
    options: Options
    groups: frozenset[str]
    problems: list[Problem] = field(default_factory=list)
    services: dict[int, Service | None] = field(default_factory=dict)
    traffics: dict[int, Traffic | None] = field(default_factory=dict)

    def read(self, declared: Declared, *, is_last: bool) -> Environment | None:
        """Return the environment with every part that could be read; what is wrong is added to `problems`."""
        head = self._read_head(declared)
        hosts, wrong = read_hosts(declared.own.child("hosts"), self.groups)
        self._note(declared, wrong, "hosts")
        services = dict(self._read_services(declared))
        traffic = self._read_traffic(declared)
        if head is None or traffic is None or wrong or not NAME.fullmatch(declared.name):
            return None
        return Environment(name=declared.name, is_last=is_last, hosts=hosts, services=services, traffic=traffic, **dict(head))

    def _note(self, declared: Declared, findings: list[Finding], *prefix: str) -> None:
        self.problems += [declared.problem(finding.below(*prefix)) for finding in findings]

    def _read_head(self, declared: Declared) -> EnvironmentHead | None:
        sections = ("hosts", *OVERLAYS)
        entries = {key: child for key, child in declared.own.entries.items() if key not in sections}
        head, findings = validate(EnvironmentHead, Node(entries, declared.own.mark), ENVIRONMENT, sections)
        self._note(declared, findings)
        return head

    def _read_services(self, declared: Declared) -> Iterator[tuple[str, Service]]:
        node = declared.merged.child("services")
        if node is not None and not isinstance(node.value, dict):
            self._note(declared, [Finding((), "not a mapping; write services: {shop: {…}}")], "services")
        for name, child in node.entries.items() if node else ():
            if id(child) not in self.services:
                self.services[id(child)] = self._read_service(declared, name, child)
            service = self.services[id(child)]
            if service is not None:
                yield name, service

    def _read_service(self, declared: Declared, name: str, node: Node) -> Service | None:
        service, findings = read_service(node)
        if not NAME.fullmatch(name):
            findings = [Finding((), f"{name!r} is not a name; use a-z, 0-9 and -, beginning with a letter, at most 31 characters"), *findings]
        self._note(declared, findings, "services", name)
        return None if findings else service

    def _read_traffic(self, declared: Declared) -> Traffic | None:
        node = declared.merged.child("traffic")
        if node is None:
            return default_traffic(self.products)
        if id(node) not in self.traffics:
            traffic, findings = read_traffic(node, self.products, self.options)
            self._note(declared, findings, "traffic")
            self.traffics[id(node)] = traffic
        return self.traffics[id(node)]


def _depth(node: Node, path: Path) -> int:
    depth = 0
    for key in path:
        child = node.child(key)
        if child is None:
            break
        node, depth = child, depth + 1
    return depth
