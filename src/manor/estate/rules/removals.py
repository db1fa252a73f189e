"""What is listed under `removed` must be gone from the declaration, and since a day that has come (docs/estate.md, removal)."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping

from manor.estate.model import Environment
from manor.estate.problems import Problem, dotted
from manor.estate.source import Node
from manor.estate.units import parse_date

TIME_ZONES = datetime.timedelta(days=1)
"""It may be tomorrow already where the date was written."""


def check_removed(root: Node, environments: Mapping[str, Environment], today: datetime.date) -> list[Problem]:
    """Return a problem for each name that is both removed and still declared, and for each date to come."""
    removed = root.child("removed")
    entries = removed.entries if removed else {}
    return [Problem(node.mark, dotted(("removed", name)), wrong) for name, node in entries.items() for wrong in _wrongs(name, node, environments, today)]


def _wrongs(name: str, node: Node, environments: Mapping[str, Environment], today: datetime.date) -> Iterator[str]:
    kind = next((_kind(name, environment) for environment in environments.values() if _kind(name, environment)), "")
    if kind:
        yield f"{kind} is still declared; remove it there, or from this list"
    date = _date(node)
    if date is not None and date > today + TIME_ZONES:
        yield f"{date} is still to come; list it when it is removed"


def _date(node: Node) -> datetime.date | None:
    """Return the date; None for what is none, which is told already."""
    try:
        return parse_date(node.plain())
    except ValueError:
        return None


def _kind(name: str, environment: Environment) -> str:
    if name in environment.services:
        return f"services.{name}"
    return f"environments.{environment.name}.hosts.{name}" if name in environment.hosts else ""
