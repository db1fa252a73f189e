"""What is listed under `removed` must be gone from the declaration (docs/estate.md, removal)."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from manor.estate.model import Environment
from manor.estate.problems import Problem, dotted
from manor.estate.source import Node


def check_removed(removed: Mapping[str, datetime.date], environments: Mapping[str, Environment], root: Node) -> list[Problem]:
    """Return a problem for each name that is both removed and still declared."""
    problems = []
    for name in removed:
        kind = next((_kind(name, environment) for environment in environments.values() if _kind(name, environment)), "")
        if kind:
            wrong = f"{kind} is still declared; remove it there, or from this list"
            problems.append(Problem(root.nearest(("removed", name)).mark, dotted(("removed", name)), wrong))
    return problems


def _kind(name: str, environment: Environment) -> str:
    if name in environment.services:
        return f"services.{name}"
    return f"environments.{environment.name}.hosts.{name}" if name in environment.hosts else ""
