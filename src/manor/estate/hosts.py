"""Reads the hosts of an environment: counts, named hosts, or none (docs/estate.md, placement).

Invariant: pure; a count `{web: 3}` is web-1 to web-3 in group web, and no hosts at all is one host `all-1` in every group.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from manor.estate.model import Host
from manor.estate.problems import Finding
from manor.estate.source import Node
from manor.estate.translate import validate
from manor.estate.units import NAME

MOST_LOCAL_HOSTS = 254
"""The last number of an address 127.E.V.H is one of so many."""
Hosts = dict[str, Host]


def read_hosts(node: Node | None, groups: Iterable[str]) -> tuple[Hosts, list[Finding]]:
    """Return the hosts by name, and what is wrong; `groups` are all that the estate names, for the one host of an environment without any."""
    if node is None or node.value is None or node.value == {}:
        return {"all-1": Host(name="all-1", groups=tuple(sorted(set(groups))))}, []
    if not isinstance(node.value, dict):
        return {}, [Finding((), "not a mapping; write counts by group, {web: 3}, or hosts by name, {web-1: {address: 10.1.0.21}}")]
    hosts: Hosts = {}
    findings: list[Finding] = []
    for key, child in node.entries.items():
        found, wrong = _read_entry(key, child)
        findings += [finding.below(key) for finding in wrong]
        findings += [Finding((key,), f"makes the host `{name}` a second time; rename one of them") for name in found if name in hosts]
        hosts |= found
    return hosts, findings


def _read_entry(key: str, node: Node) -> tuple[Hosts, list[Finding]]:
    if not NAME.fullmatch(key):
        return {}, [Finding((), f"{key!r} is not a name; use a-z, 0-9 and -, beginning with a letter, at most 31 characters")]
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        return _read_count(key, node.value)
    if not isinstance(node.value, dict):
        return {}, [Finding((), f"neither a number of hosts nor a host; write e.g. {key}: 3, or {key}: {{groups: [web]}}")]
    return _read_host(key, node)


def _read_count(group: str, count: int) -> tuple[Hosts, list[Finding]]:
    if not 0 <= count <= MOST_LOCAL_HOSTS:
        return {}, [Finding((), f"{count} is not a number of local hosts; write one from 0 to {MOST_LOCAL_HOSTS}, or hosts by name with addresses")]
    if not NAME.fullmatch(f"{group}-{count}"):
        return {}, [Finding((), f"the host's name {group}-{count} would be too long; shorten the group's name")]
    names = [f"{group}-{number}" for number in range(1, count + 1)]
    return {name: Host(name=name, groups=(group,)) for name in names}, []


def _read_host(name: str, node: Node) -> tuple[Hosts, list[Finding]]:
    if "name" in node.entries:
        return {}, [Finding(("name",), "unknown key; a host's name is its key, remove this")]
    default = {"groups": Node([Node(group_of_name(name), node.mark)], node.mark)}
    named = Node({**default, **node.entries, "name": Node(name, node.mark)}, node.mark)
    host, findings = validate(Host, named, {})
    return ({name: host} if host else {}), findings


def group_of_name(name: str) -> str:
    """Return the group of a host that declares none: its name without the number."""
    return re.sub(r"-\d+$", "", name)
