"""Environments are alike by construction: what differs beyond hosts, names and sizes has a reason (docs/estate.md, parity)."""

from __future__ import annotations

from collections.abc import Iterator

from manor.estate.environments import OVERLAYS
from manor.estate.model import Environment
from manor.estate.overlays import Path, changes
from manor.estate.problems import Finding, dotted
from manor.estate.rules.context import Context
from manor.estate.source import Node

SIZES = (("run", "limits"),)
NAMES = ("host", "body")


def check_parity(environment: Environment, context: Context) -> Iterator[Finding]:
    """Yield each value that differs from the estate's own without a reason under `differences`."""
    declared = context.declared
    for section in OVERLAYS:
        if declared.own.child(section) is None:
            continue
        base, merged = declared.base.child(section), declared.merged.child(section)
        for below in changes(base, merged):
            path = (section, *below)
            if not _is_free(path, base, merged) and not _has_reason(path, environment.differences):
                yield Finding(path, _message(path, environment.name))


def _message(path: Path, environment: str) -> str:
    key = dotted(path[:2])
    return f'differs from the other environments; say why with differences: {{{key}: "…"}} under environments.{environment}, or declare it for all'


def _is_free(path: Path, base: Node | None, merged: Node | None) -> bool:
    """Sizes and names may differ; `services.<name>` is the beginning of such a path."""
    if path[0] != "services" or len(path) < 3:
        return False
    below = path[2:]
    if any(below[: len(free)] == free for free in SIZES):
        return True
    return below == ("routes",) and _differ_in_names(base and base.at(path[1:]), merged and merged.at(path[1:]))


def _differ_in_names(base: Node | None, merged: Node | None) -> bool:
    if base is None or merged is None or not isinstance(base.value, list) or not isinstance(merged.value, list):
        return False
    return [_without_names(item) for item in base.value] == [_without_names(item) for item in merged.value]


def _without_names(route: Node) -> object:
    return {key: child.plain() for key, child in route.entries.items() if key not in NAMES}


def _has_reason(path: Path, differences: dict[str, str]) -> bool:
    """Tell whether a reason names the path or something above it; `services.` may be left out."""
    whole = dotted(path)
    return any(spelling == reason or spelling.startswith(f"{reason}.") for reason in differences for spelling in (whole, whole.removeprefix(f"{path[0]}.")))
