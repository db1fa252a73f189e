"""What the estate file may say one day and this version cannot carry out: refused as `not supported yet`, never ignored.

Invariant: a key stands here or in the model, never in both; when it is built it moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from manor.estate.overlays import Path
from manor.estate.problems import Finding
from manor.estate.source import Node

ALL = "*"


@dataclass(frozen=True)
class Refuses:
    """Which values are refused; none named: all."""

    is_refused: Callable[[Any], bool]
    said: str = ""
    """The values, for the reference."""


def _words(*words: str) -> Refuses:
    return Refuses(lambda value: isinstance(value, str) and value in words, ", ".join(words))


def _above_one(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 1


ALWAYS = Refuses(lambda value: value is not None)
MAPPING = Refuses(lambda value: isinstance(value, dict), "{kind: …, url: …}")
ABOVE_ONE = Refuses(_above_one, "more than 1")

ESTATE: dict[Path, Refuses] = {
    ("backing",): ALWAYS,
    ("logs",): ALWAYS,
    ("watch",): ALWAYS,
}
SERVICE: dict[Path, Refuses] = {
    ("cache", "tags"): ALWAYS,
    ("cache", "warm"): ALWAYS,
    ("data",): ALWAYS,
    ("firewall",): ALWAYS,
    ("health", "heartbeat"): ALWAYS,
    ("health", "queue"): ALWAYS,
    ("needs",): ALWAYS,
    ("place", "per_host"): ABOVE_ONE,
    ("profile",): _words("akeneo", "django", "magento2", "php", "pimcore", "wordpress"),
    ("repository",): MAPPING,
    ("rollout", "steps"): ALWAYS,
    ("rollout", "strategy"): _words("blue_green", "canary"),
    ("run", "jobs"): ALWAYS,
    ("run", "migrate"): ALWAYS,
    ("run", "workers"): ALWAYS,
    ("secrets",): ALWAYS,
    ("sessions",): ALWAYS,
    ("slo",): ALWAYS,
}
TRAFFIC: dict[Path, Refuses] = {
    ("firewall",): ALWAYS,
    ("tls", "issuer"): _words("acme", "files"),
}
ENVIRONMENT: dict[Path, Refuses] = {
    ("connect",): ALWAYS,
    ("firewall",): ALWAYS,
    ("gates", ALL): _words("approval", "capacity", "freeze", "parity", "performance"),
    ("logs",): ALWAYS,
    ("watch",): ALWAYS,
    ("windows",): ALWAYS,
}


def find_not_yet(node: Node, table: dict[Path, Refuses]) -> list[Finding]:
    """Return a finding for each value below the node that the table refuses."""
    return [
        Finding(path, _message(refuses, found))
        for pattern, refuses in table.items()
        for path, found in _matches(node, pattern, ())
        if refuses.is_refused(found.value)
    ]


def keys_at(table: dict[Path, Refuses], path: Path) -> set[str]:
    """Return the keys that the table knows directly under a path; a suggestion may name them too."""
    return {str(pattern[len(path)]) for pattern in table if len(pattern) > len(path) and pattern[: len(path)] == path}


def _message(refuses: Refuses, found: Node) -> str:
    if not refuses.said or isinstance(found.value, dict | list):
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
    if pattern[0] == ALL:
        for name, item in node.entries.items():
            yield from _matches(item, pattern[1:], (*path, name))
        return
    child = node.child(pattern[0])
    if child is not None:
        yield from _matches(child, pattern[1:], (*path, pattern[0]))
