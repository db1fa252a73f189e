"""What the estate file may say one day and this version cannot carry out: refused as `not supported yet`, never ignored.

Invariant: a key stands here or in the model, never in both; when it is built it moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from manor.estate.overlays import Path
from manor.estate.problems import Finding
from manor.estate.source import Node

ALL = "*"
Refuses = Callable[[Any], bool]


def _always(value: object) -> bool:
    return value is not None


def _words(*words: str) -> Refuses:
    return lambda value: isinstance(value, str) and value in words


def _is_mapping(value: object) -> bool:
    return isinstance(value, dict)


def _above_one(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 1


ESTATE: dict[Path, Refuses] = {
    ("backing",): _always,
    ("logs",): _always,
    ("watch",): _always,
}
SERVICE: dict[Path, Refuses] = {
    ("cache", "tags"): _always,
    ("cache", "warm"): _always,
    ("data",): _always,
    ("firewall",): _always,
    ("health", "heartbeat"): _always,
    ("health", "queue"): _always,
    ("needs",): _always,
    ("place", "per_host"): _above_one,
    ("profile",): _words("akeneo", "django", "magento2", "php", "pimcore", "wordpress"),
    ("repository",): _is_mapping,
    ("rollout", "steps"): _always,
    ("rollout", "strategy"): _words("blue_green", "canary"),
    ("run", "jobs"): _always,
    ("run", "migrate"): _always,
    ("run", "workers"): _always,
    ("secrets",): _always,
    ("sessions",): _always,
    ("slo",): _always,
}
TRAFFIC: dict[Path, Refuses] = {
    ("firewall",): _always,
    ("tls", "issuer"): _words("acme", "files"),
}
ENVIRONMENT: dict[Path, Refuses] = {
    ("connect",): _always,
    ("firewall",): _always,
    ("gates", ALL): _words("approval", "capacity", "freeze", "parity", "performance"),
    ("logs",): _always,
    ("watch",): _always,
    ("windows",): _always,
}


def find_not_yet(node: Node, table: dict[Path, Refuses]) -> list[Finding]:
    """Return a finding for each value below the node that the table refuses."""
    return [Finding(path, _message(path, found)) for pattern, refuses in table.items() for path, found in _matches(node, pattern, ()) if refuses(found.value)]


def keys_at(table: dict[Path, Refuses], path: Path) -> set[str]:
    """Return the keys that the table knows directly under a path; a suggestion may name them too."""
    return {str(pattern[len(path)]) for pattern in table if len(pattern) > len(path) and pattern[: len(path)] == path}


def _message(path: Path, found: Node) -> str:
    if isinstance(found.value, dict | list) or (path[-1] not in ("strategy", "profile", "issuer", "per_host") and not isinstance(path[-1], int)):
        return "not supported yet; this version cannot carry it out, remove it for now"
    return f"{found.text} is not supported yet; this version cannot carry it out, choose another for now"


def _matches(node: Node, pattern: Path, path: Path) -> Iterator[tuple[Path, Node]]:
    if not pattern:
        yield path, node
        return
    if pattern[0] == ALL and isinstance(node.value, list):
        for number, item in enumerate(node.value):
            yield from _matches(item, pattern[1:], (*path, number))
        return
    child = node.child(pattern[0])
    if child is not None:
        yield from _matches(child, pattern[1:], (*path, pattern[0]))
